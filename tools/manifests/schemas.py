"""Writes cmd/vgg/testdata/schemas.yaml: of the schemas that the MPI operator, Kubeflow Trainer and
Kubernetes publish, the parts that the manifests in deploy use. A key that isn't in the published
schema is an error, here and in TestManifests, which reads the file.

    git clone --depth 1 https://github.com/kubeflow/mpi-operator
    git clone --depth 1 https://github.com/kubeflow/trainer
    python3 tools/manifests/schemas.py mpi-operator trainer

Kubernetes' own schema of a Job is taken as it is embedded in that of a training runtime.
"""

import subprocess
import sys

import yaml

KEPT = ("type", "enum", "required", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
        "x-kubernetes-int-or-string")


def published(repository, path):
    """The schemas of a file of custom resource definitions, by version."""
    text = subprocess.check_output(["git", "-C", repository, "show", "HEAD:" + path], text=True)
    versions = {}
    for document in yaml.safe_load_all(text):
        for version in document["spec"]["versions"]:
            versions[version["name"]] = version["schema"]["openAPIV3Schema"]
    return versions


def pruned(schema, values, where):
    """The parts of a schema that some values of it need."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    dicts = [v for v in values if isinstance(v, dict)]
    lists = [x for v in values if isinstance(v, list) for x in v]
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key in sorted({k for d in dicts for k in d}):
        below = [d[key] for d in dicts if key in d]
        if key in properties:
            kept.setdefault("properties", {})[key] = pruned(properties[key], below, f"{where}.{key}")
        elif isinstance(others, dict):
            kept["additionalProperties"] = pruned(others, [x for d in dicts for x in d.values()], where)
        elif where.endswith(".metadata"):
            kept.setdefault("properties", {})[key] = {"type": "string"} if key == "name" else {"type": "object", "additionalProperties": {"type": "string"}}
        else:
            raise SystemExit(f"{where}: {key} isn't in the published schema")
    if lists:
        kept["items"] = pruned(schema["items"], lists, where + "[]")
    return kept


def main(operator, trainer):
    mpi = published(operator, "manifests/base/kubeflow.org_mpijobs.yaml")["v2beta1"]
    base = "manifests/base/crds/trainer.kubeflow.org_"
    runtime = published(trainer, base + "trainingruntimes.yaml")["v1alpha1"]
    job = published(trainer, base + "trainjobs.yaml")["v1alpha1"]
    replicated = runtime["properties"]["spec"]["properties"]["template"]["properties"]["spec"]["properties"]["replicatedJobs"]
    indexed = {"type": "object", "properties": dict(runtime["properties"], spec=replicated["items"]["properties"]["template"]["properties"]["spec"])}
    schemas = {"MPIJob": mpi, "TrainingRuntime": runtime, "TrainJob": job, "Job": indexed}
    documents = [d for name in ("mpijob", "trainer", "indexedjob") for d in yaml.safe_load_all(open(f"deploy/{name}.yaml"))]
    out = {}
    for kind, schema in schemas.items():
        out[kind] = pruned(schema, [d for d in documents if d["kind"] == kind], kind)
    commits = {r: subprocess.check_output(["git", "-C", d, "log", "-1", "--format=%H"], text=True).strip()
               for r, d in (("kubeflow/mpi-operator", operator), ("kubeflow/trainer", trainer))}
    with open("cmd/vgg/testdata/schemas.yaml", "w") as f:
        f.write("# Written by tools/manifests/schemas.py from\n")
        for name, commit in commits.items():
            f.write(f"# github.com/{name} {commit}\n")
        yaml.safe_dump(out, f, sort_keys=True, width=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
