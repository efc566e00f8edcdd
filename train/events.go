package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// events writes a file for TensorBoard: TFRecords, each an Event of TensorFlow's
// event.proto.
type events struct {
	log  *appendLog
	name string // file name, in the run directory
	now  func() time.Time
}

// eventsPattern matches our event files. TensorBoard looks for such names, and reads the
// files in the order of their names.
const eventsPattern = "events.out.tfevents.*.vgg"

// eventsAfter returns the name of a new file, which sorts after those in dir.
func eventsAfter(dir string, now time.Time) (string, error) {
	old, err := filesIn(dir, eventsPattern)
	if err != nil {
		return "", err
	}
	at := now.Unix()
	for _, path := range old {
		var second int64
		if _, err := fmt.Sscanf(filepath.Base(path), "events.out.tfevents.%d.vgg", &second); err == nil {
			at = max(at, second+1)
		}
	}
	return fmt.Sprintf("events.out.tfevents.%010d.vgg", at), nil
}

// cutEvents removes the events after a checkpoint from the files in dir. The checkpoint was
// taken when the named file had the given length.
func cutEvents(dir, name string, bytes int64) error {
	files, err := filesIn(dir, eventsPattern)
	if err != nil {
		return err
	}
	for _, path := range files {
		switch base := filepath.Base(path); {
		case base == name:
			var info os.FileInfo
			// A file that was cut since has nothing to remove, and Truncate would lengthen it.
			if info, err = os.Stat(path); err == nil && info.Size() > bytes {
				err = os.Truncate(path, bytes)
			}
		case base > name:
			err = os.Remove(path)
		}
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// newEvents begins a file. For a run that resumes, the file tells TensorBoard to forget
// steps after the iteration, which it may have read.
func newEvents(dir string, iteration int, resumed bool, log *slog.Logger, now func() time.Time) (*events, error) {
	name, err := eventsAfter(dir, now())
	if err != nil {
		return nil, err
	}
	l, err := openAppendLog(filepath.Join(dir, name), 0, log)
	if err != nil {
		return nil, err
	}
	e := &events{log: l, name: name, now: now}
	const fileVersion, sessionLog, status, start = 3, 7, 1, 1
	err = e.write(0, appendString(nil, fileVersion, "brain.Event:2"))
	if err == nil && resumed {
		session := protowire.AppendVarint(protowire.AppendTag(nil, status, protowire.VarintType), start)
		err = e.write(iteration+1, appendMessage(nil, sessionLog, session))
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return e, nil
}

// scalar is a figure at a step. TensorBoard groups figures by the part of the tag before
// the slash.
type scalar struct {
	tag   string
	value float64
}

// Field numbers of event.proto, summary.proto and tensor.proto.
const (
	eventWallTime, eventStep, eventSummary                        = 1, 2, 5
	summaryValue, valueTag, valueSimple, valueTensor, valueMeta   = 1, 1, 2, 8, 9
	metaPlugin, pluginName, tensorType, tensorShape, tensorString = 1, 1, 1, 2, 8
	typeString                                                    = 7
)

// scalars logs the figures of one step, except NaN.
func (e *events) scalars(step int, figures ...scalar) error {
	var summary []byte
	for _, f := range figures {
		if math.IsNaN(f.value) {
			continue
		}
		v := appendString(nil, valueTag, f.tag)
		v = protowire.AppendTag(v, valueSimple, protowire.Fixed32Type)
		v = protowire.AppendFixed32(v, math.Float32bits(float32(f.value)))
		summary = appendMessage(summary, summaryValue, v)
	}
	if summary == nil {
		return nil
	}
	return e.write(step, appendMessage(nil, eventSummary, summary))
}

// text logs a text, shown as Markdown.
func (e *events) text(step int, tag, text string) error {
	plugin := appendMessage(nil, metaPlugin, appendString(nil, pluginName, "text"))
	t := protowire.AppendVarint(protowire.AppendTag(nil, tensorType, protowire.VarintType), typeString)
	t = appendMessage(t, tensorShape, nil)
	t = appendString(t, tensorString, text)
	v := appendString(nil, valueTag, tag)
	v = appendMessage(v, valueTensor, t)
	v = appendMessage(v, valueMeta, plugin)
	return e.write(step, appendMessage(nil, eventSummary, appendMessage(nil, summaryValue, v)))
}

// write logs an event with a time, a step and the given other fields.
func (e *events) write(step int, fields []byte) error {
	seconds := float64(e.now().UnixMicro()) / 1e6
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(seconds))
	if step != 0 {
		b = protowire.AppendTag(b, eventStep, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(step))
	}
	return e.log.add(appendRecord(nil, append(b, fields...)))
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

// appendRecord appends a TFRecord: the length, its checksum, the data, its checksum.
func appendRecord(b, data []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b[at:]))
	b = append(slices.Grow(b, len(data)+4), data...)
	return binary.LittleEndian.AppendUint32(b, maskedCRC(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's checksum: CRC-32C, rotated and offset, since a CRC of data that
// contains its own CRCs is weak.
func maskedCRC(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
