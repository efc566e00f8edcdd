#!/usr/bin/env python3
"""Writes the notebooks of examples/notebooks and runs them.

    python3 tools/notebooks/make.py          the notebooks, with what they print and their pictures
    python3 tools/notebooks/make.py --check  runs them elsewhere for ten of their eighty epochs,
                                             and leaves the files alone

Needs nbclient, nbformat, Pillow, Go, and the kernel GoNB (github.com/janpfeifer/gonb):

    python3 -m venv jupyter && jupyter/bin/pip install nbclient nbformat pillow
    bash tools/notebooks/kernel.sh jupyter

The networks are those of the programs beside, which a test keeps the same.
"""

import argparse
import base64
import io
import os
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat
import PIL.Image
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "notebooks"
NETWORKS = ["vgg16-bn", "vgg16-lrn", "vgg19-bn", "vgg19-lrn"]


EPOCHS = 80
CHECKED = 10  # epochs of --check: the curve's cell prints at every tenth


def recipe(name, epochs):
    """The lines of the program that make the recipe, and its title."""
    source = (ROOT / "examples" / name / "main.go").read_text()
    title = re.search(r"builds (VGG-\d+ with [a-z ]+), prints", source).group(1)
    lines = re.search(r"\tr := train.SampleRecipe\(\)\n.*?\n\tif r\.Dropout.*?\n\t}\n", source, re.S).group(0)
    lines = lines.replace("*epochs", str(epochs)).replace("; *full {", "; full {").replace("r.Dropout, r.WeightDecay", "r.Dropout, r.WeightDecay")
    return title, lines


def cells(name, epochs, flags):
    title, lines = recipe(name, epochs)
    run = f"{name}-run"
    yield new_markdown_cell(
        f"# {title}\n\nThe program [examples/{name}](../{name}/main.go) as a notebook for the "
        "[GoNB](https://github.com/janpfeifer/gonb) kernel. A cell is a program of its own; what it declares, the cells "
        "after it have too. The network is an eighth of the paper's width, on crops of 32×32 pixels; `full` makes it the "
        "paper's."
    )
    yield new_code_cell(
        "// This module, from the clone that the notebook lies in.\n"
        "!*go mod edit -require=github.com/verydeep/vgg@v0.0.0 -replace=github.com/verydeep/vgg=${GONB_DIR}/../.. -require=github.com/janpfeifer/gonb@v0.11.3\n"
        "!*cp ${GONB_DIR}/../../go.sum go.sum\n"
        f"%env GOFLAGS{flags}\n"
        "%noautoget"
    )
    yield new_markdown_cell("## The network\n\nIts recipe has all that training needs to know: configuration, width, crops, learning rate.")
    yield new_code_cell(f"""import (
	"fmt"
	"log"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/train"
)

const full = false

func recipe() train.Recipe {{
{lines}	return r
}}

func check(err error) {{
	if err != nil {{
		log.Fatal(err)
	}}
}}

%%
summary, err := network.Summarise(recipe().Options(10))
check(err)
for _, l := range summary.Layers {{
	fmt.Printf("%-11s %-10s %-12s %9d\\n", l.Name, l.Type, fmt.Sprint(l.Output), l.Weights+l.Biases)
}}
""")
    yield new_markdown_cell("## Training\n\nOn ten categories of photographs that are built in, forty each. The curve is the training loss, and the errors on the validation images.")
    yield new_code_cell(f"""import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/janpfeifer/gonb/gonbui"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/report"
	"github.com/verydeep/vgg/train"
)

const dir = "{run}"

%%
check(os.RemoveAll(dir))
photos, val, err := sample.Open()
check(err)
o := train.DefaultOptions()
o.Recipe, o.Train, o.Val, o.Dir = recipe(), photos, val, dir
curve := report.Curve{{Title: "{title}"}}
perEpoch := (photos.Len() + o.Recipe.Batch - 1) / o.Recipe.Batch
o.OnIteration = func(i train.Iteration) {{
	curve.Iterations = append(curve.Iterations, report.IterationPoint{{Epoch: float64(i.Iteration) / float64(perEpoch), Loss: i.Loss}})
}}
o.OnEpoch = func(e train.Epoch) {{
	curve.Epochs = append(curve.Epochs, report.EpochPoint{{Epoch: e.Epoch, Loss: e.Loss, Top1: e.Top1Error, Top5: e.Top5Error, LearningRate: e.LearningRate}})
	if e.Epoch%10 == 0 {{
		fmt.Printf("epoch %d: loss %.2f, top-1 error %.2f\\n", e.Epoch, e.Loss, e.Top1Error)
	}}
}}
result, err := train.Run(context.Background(), o)
check(err)
fmt.Println("best epoch", result.BestEpoch)
var picture bytes.Buffer
check(curve.EncodePNG(&picture))
gonbui.DisplayPng(picture.Bytes())
""")
    yield new_markdown_cell("## Evaluation")
    yield new_code_cell("""import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/verydeep/vgg"
	"github.com/verydeep/vgg/dataset/sample"
	"github.com/verydeep/vgg/eval"
	"github.com/verydeep/vgg/train"
)

func model() *vgg.Model {
	m, err := vgg.Open(context.Background(), filepath.Join(dir, train.BestFile), vgg.OpenOptions{})
	check(err)
	return m
}

%%
_, val, err := sample.Open()
check(err)
r, err := eval.Run(context.Background(), model(), val, eval.DefaultOptions())
check(err)
fmt.Printf("top-1 error %.2f, top-5 error %.2f on %d images\\n", r.Top1Error, r.Top5Error, r.Images)
for _, c := range r.Confusions[:min(3, len(r.Confusions))] {
	fmt.Printf("%d times %s was taken for %s\\n", c.Images, c.Truth, c.Predicted)
}
""")
    yield new_markdown_cell("## A photograph")
    yield new_code_cell("""import (
	"bytes"
	"fmt"
	"image/jpeg"

	"github.com/janpfeifer/gonb/gonbui"
	"github.com/verydeep/vgg/dataset/sample"
)

%%
_, val, err := sample.Open()
check(err)
photo, err := val.Read(80) // a sunflower
check(err)
picture, err := jpeg.Decode(bytes.NewReader(photo))
check(err)
check(gonbui.DisplayImage(picture))
top, err := model().Classify(picture, 3)
check(err)
for _, p := range top {
	fmt.Printf("%-12s %4.1f %%\\n", p.Class, 100*p.Probability)
}
""")


def notebook(name, epochs=EPOCHS, flags="=-mod=mod"):
    n = new_notebook(cells=list(cells(name, epochs, flags)))
    n.metadata["kernelspec"] = {"display_name": "Go (gonb)", "language": "go", "name": "gonb"}
    n.metadata["language_info"] = {"name": "go", "file_extension": ".go", "mimetype": "text/x-go"}
    for i, cell in enumerate(n.cells):
        cell["id"] = f"cell-{i}"
    return n


def small(picture):
    """A PNG in base64 as a small one of few colours: the data of the repository is bounded."""
    im = PIL.Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    curve = im.width > 600
    im.thumbnail((480, 480) if curve else (96, 96), PIL.Image.LANCZOS)
    out = io.BytesIO()
    im.quantize(8 if curve else 16, dither=PIL.Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def execute(n, folder):
    nbclient.NotebookClient(n, timeout=3600, kernel_name="gonb", resources={"metadata": {"path": str(folder)}}).execute()
    for cell in n.cells:
        cell.metadata.clear()  # times
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = output.text.replace(str(ROOT), "vgg")
            elif "image/png" in output.data:
                output.data["image/png"] = small(output.data["image/png"])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="run copies, and compare the sources of the cells alone")
    arguments.add_argument("names", nargs="*", default=NETWORKS)
    given = arguments.parse_args()
    for name in given.names:
        n, file = notebook(name), FOLDER / f"{name}.ipynb"
        if given.check:
            stored = nbformat.read(file, as_version=4)
            if [c.source for c in stored.cells] != [c.source for c in n.cells]:
                sys.exit(f"{file}: not what tools/notebooks/make.py writes")
            # With the caller's flags, what the caller has compiled needn't be compiled anew.
            n = notebook(name, CHECKED, f' "-mod=mod {os.environ.get("GOFLAGS", "")}"')
        # GONB_DIR, by which a notebook finds the module, is the folder that it runs in.
        with tempfile.TemporaryDirectory(dir=FOLDER.parent, prefix=".notebook-") as folder:
            execute(n, folder)
        if not given.check:
            FOLDER.mkdir(exist_ok=True)
            nbformat.write(n, file)
        pictures = sum("image/png" in o.get("data", {}) for c in n.cells for o in c.get("outputs", []))
        print(f"{name}: ran, {pictures} pictures", flush=True)
        if pictures < 2:
            sys.exit(f"{name}: {pictures} pictures, want the curve and the photograph")


if __name__ == "__main__":
    main()
