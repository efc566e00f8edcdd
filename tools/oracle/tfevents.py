"""Makes train/testdata/events.tfevents with TensorBoard's own writer, and reads event
files with its own reader:

    python3 tools/oracle/tfevents.py                # make the fixture
    python3 tools/oracle/tfevents.py RUN_DIRECTORY  # print what TensorBoard sees

Needs the package tensorboard (made with 2.21.0).
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
from tensorboard.summary.writer import record_writer

HERE = pathlib.Path(__file__).resolve().parent
FIXTURE = HERE.parent.parent / "train" / "testdata" / "events.tfevents"


def events():
    yield event_pb2.Event(wall_time=1700000000.25, file_version="brain.Event:2")
    yield event_pb2.Event(
        wall_time=1700000000.5, step=8,
        session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
    value = summary_pb2.Summary.Value
    yield event_pb2.Event(
        wall_time=1700000000.75, step=8,
        summary=summary_pb2.Summary(value=[
            value(tag="train/loss", simple_value=2.302585),
            value(tag="train/learning_rate", simple_value=0.01)]))
    yield event_pb2.Event(
        wall_time=1700000001.0,
        summary=summary_pb2.Summary(value=[value(
            tag="recipe",
            tensor=tensor_pb2.TensorProto(
                dtype="DT_STRING", tensor_shape=tensor_shape_pb2.TensorShapeProto(),
                string_val=["```\nconfig: A\n```".encode()]),
            metadata=summary_pb2.SummaryMetadata(
                plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text")))]))
    yield event_pb2.Event(
        wall_time=1700000001.25, step=1 << 40,
        summary=summary_pb2.Summary(value=[value(tag="epoch/top1_error", simple_value=0.5)]))


def make():
    with open(FIXTURE, "wb") as f:
        w = record_writer.RecordWriter(f)
        for e in events():
            w.write(e.SerializeToString(deterministic=True))
        w.flush()
    print(FIXTURE, FIXTURE.stat().st_size, "bytes")


def show(directory):
    a = event_accumulator.EventAccumulator(directory, size_guidance={"scalars": 0, "tensors": 0})
    a.Reload()
    for tag in sorted(a.Tags()["scalars"]):
        s = a.Scalars(tag)
        print(json.dumps({"tag": tag, "count": len(s), "steps": [e.step for e in s], "last": s[-1].value}))
    for tag in a.Tags()["tensors"]:
        print(json.dumps({"tag": tag, "text": a.Tensors(tag)[0].tensor_proto.string_val[0].decode()}))


if len(sys.argv) > 1:
    show(sys.argv[1])
else:
    make()
