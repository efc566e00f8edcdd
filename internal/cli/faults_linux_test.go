package cli_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// faultFolder is a folder with net.safetensors, and photos of two classes.
type faultFolder struct {
	*testing.T
	dir string
}

func newFaultFolder(t *testing.T) faultFolder {
	t.Helper()
	f := faultFolder{t, t.TempDir()}
	if err := tiny.Colours(3).Save(t.Context(), f.path("net.safetensors")); err != nil {
		t.Fatal(err)
	}
	f.photos("photos", 4)
	return f
}

func (f faultFolder) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// photos writes n pictures of each class.
func (f faultFolder) photos(folder string, n int) {
	f.Helper()
	for class, c := range map[string]color.RGBA{"blue": {20, 30, 230, 255}, "red": {230, 20, 30, 255}} {
		for i := range n {
			f.write(fmt.Sprintf("%s/%s/%03d.png", folder, class, i), vggtest.PNG(40, 36, func(x, y int) color.RGBA {
				return color.RGBA{c.R + uint8(x*i%20), c.G + uint8(y*i%20), c.B + uint8((x+y)*i%20), 255}
			}))
		}
	}
}

func (f faultFolder) write(name string, data []byte) {
	f.Helper()
	vggtest.WriteFiles(f, f.dir, map[string][]byte{name: data})
}

func (f faultFolder) exists(name string) bool {
	_, err := os.Lstat(f.path(name))
	return err == nil
}

// sparse makes a file of so many bytes that takes none of the disk.
func (f faultFolder) sparse(name string, size int64) {
	f.Helper()
	f.write(name, nil)
	if err := os.Truncate(f.path(name), size); err != nil {
		vggtest.Skip(f.T, "sparse files")
	}
}

func (f faultFolder) pipe(name string) {
	f.Helper()
	if err := syscall.Mkfifo(f.path(name), 0o666); err != nil {
		f.Fatal(err)
	}
}

// longest is how long a command may take before it counts as one that hangs.
const longest = 3 * time.Minute

// command is the program in the folder.
func (f faultFolder) command(ctx context.Context, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "vgg" // by which TestMain knows the command
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+f.path("cache"))
	return cmd
}

// vgg runs the program, which must exit with a code, say what is wanted on one of its outputs
// and take no more memory than so many MiB. It returns what it says.
func (f faultFolder) vgg(code int, want string, mostMiB int64, args ...string) string {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), longest)
	defer cancel()
	cmd := f.command(ctx, args...)
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		f.Fatalf("vgg %s hangs\n%s", strings.Join(args, " "), text)
	}
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(text), want) {
		f.Errorf("vgg %s: exit code %d (%v), want %d and %q in\n%s", strings.Join(args, " "), got, err, code, want, text)
	}
	if took := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10; took > mostMiB {
		f.Errorf("vgg %s takes %d MiB, want at most %d", strings.Join(args, " "), took, mostMiB)
	}
	return string(text)
}

// small is a bound of memory for what is refused or small, in MiB: the program itself takes
// some 80.
const small = 250

var faultRecipe = []string{
	"--config=A", "--width=0.05", "--fc=8", "--input=32", "--scale-min=32", "--scale-max=36", "--test-scale=32", "--batch=4", "--init=he", "--learning-rate=1e-5",
}

func jsonBombs(f faultFolder) {
	zeros := `{"class_name":"Sequential","config":{"layers":[` + strings.Repeat("0,", 930_000) + `0]}}`
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range map[string]string{"metadata.json": `{"keras_version":"3.0.0"}`, "config.json": zeros, "model.weights.h5": "\x89HDF\r\n\x1a\n"} {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(e, text)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.write("bomb.keras", b.Bytes())
	f.write("model.json", []byte(`{"format":"layers-model","modelTopology":`+zeros+`,"weightsManifest":[]}`))
	for _, name := range []string{"bomb.keras", "model.json"} {
		f.vgg(1, "JSON of more than 262144 values", small, "inspect", name)
		f.vgg(1, "JSON of more than 262144 values", small, "convert", name, "out.safetensors")
	}
}

func pictureSize(f faultFolder) {
	f.sparse("photos/red/h.png", 20<<30)
	for _, args := range [][]string{{"stats", "photos"}, {"stats", "photos", "--fresh", "--memory", "1GiB"}} {
		f.vgg(3, "red/h.png: 20 GiB, want at most 256 MiB", small, args...)
	}
	f.vgg(3, "photos/red/h.png: ", small, "classify", "net.safetensors", "photos")
	f.vgg(3, "20 GiB, want at most 256 MiB", small, "features", "net.safetensors", "photos", "--out", "f.npy")
	f.vgg(3, "20 GiB, want at most 256 MiB", small, "eval", "net.safetensors", "photos")
	// An entry of a ZIP file that inflates to 4.8 GB.
	var archive, deflated bytes.Buffer
	c, err := flate.NewWriter(&deflated, flate.BestSpeed)
	if err == nil {
		_, err = c.Write(make([]byte, 1<<20))
	}
	if err != nil || c.Close() != nil {
		f.Fatal(err)
	}
	w := zip.NewWriter(&archive)
	e, err := w.CreateRaw(&zip.FileHeader{Name: "a/bomb.png", Method: zip.Deflate, UncompressedSize64: 4_800_000_000, CompressedSize64: uint64(deflated.Len())})
	if err == nil {
		_, err = e.Write(deflated.Bytes())
	}
	good, err2 := w.Create("b/good.png")
	if err2 == nil {
		_, err2 = good.Write(vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)))
	}
	if err != nil || err2 != nil || w.Close() != nil {
		f.Fatal(err, err2)
	}
	f.write("bomb.zip", archive.Bytes())
	f.vgg(3, "want at most 256 MiB", small, "stats", "bomb.zip")
}

func oddRunDirectory(f faultFolder) {
	run := `runs\[1]*`
	train := func(epochs int, more ...string) []string {
		return append(append([]string{"train", "--data", "photos", "--out", run, "--keep", "3", "--checkpoint-every", "1ms", fmt.Sprint("--epochs=", epochs)}, faultRecipe...), more...)
	}
	f.vgg(0, "", small, train(3)...)
	if left, err := os.ReadDir(f.path(run + "/checkpoints")); err != nil || len(left) != 3 {
		f.Errorf("%d checkpoints, %v, want 3 that --keep 3 leaves", len(left), err)
	}
	before, err := os.ReadFile(f.path(run + "/metrics.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.vgg(0, "", small, "train", "--resume", "--out", run, "--epochs", "4")
	if after, err := os.ReadFile(f.path(run + "/metrics.jsonl")); err != nil || !bytes.HasPrefix(after, before) || len(after) == len(before) {
		f.Errorf("the resumed run began anew: %v", err)
	}
	if err := os.Rename(f.path(run+"/checkpoints"), f.path("elsewhere")); err != nil {
		f.Fatal(err)
	}
	f.vgg(1, "the log metrics.jsonl has 4 epochs", small, "train", "--resume", "--out", run, "--epochs", "5")
}

func outputAmongData(f faultFolder) {
	at := f
	at.dir = f.path("photos")
	at.vgg(0, "", small, append([]string{"train", "--data", ".", "--epochs=1"}, faultRecipe...)...)
	if !at.exists("runs") {
		f.Fatal("no folder runs")
	}
	if text := at.vgg(0, "8 images", small, "stats", "."); strings.Contains(text, "curve.png") {
		f.Errorf("a run is a class:\n%s", text)
	}
	at.vgg(0, "2 classes", small, "eval", "../net.safetensors", "--data", ".")
	for _, args := range [][]string{
		{"eval", "net.safetensors", "--data", "photos", "--out", "photos/r.jsonl"}, {"stats", "photos", "--sheets", "photos/sheets"}, {"shard", "photos", "--out", "photos/shards"},
	} {
		f.vgg(1, "below the images' folder photos", small, args...)
	}
}

func overwriting(f faultFolder) {
	const mine = "{\"mine\":1}\n"
	f.vgg(0, "", small, "features", "net.safetensors", "photos", "--out", "d.safetensors")
	for _, args := range [][]string{
		{"features", "net.safetensors", "photos", "--out", "mine.jsonl"}, {"eval", "net.safetensors", "photos", "--csv", "mine.csv"},
		{"transfer", "train", "d.safetensors", "--out", "mine.safetensors"}, {"convert", "net.safetensors", "mine.npz"},
		{"explain", "net.safetensors", "photos/red/000.png", "--out", "mine.png"}, {"similar", "d.safetensors", "photos/red/000.png", "--html", "mine.html"},
	} {
		name := args[slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "mine.") })]
		f.write(name, []byte(mine))
		f.vgg(1, "exists already", small, args...)
		if b, err := os.ReadFile(f.path(name)); err != nil || string(b) != mine {
			f.Errorf("vgg %s: the file that was there is %q, %v", args[0], b, err)
		}
	}
	for _, args := range [][]string{
		{"transfer", "train", "d.safetensors", "--out", "d.safetensors", "--overwrite"}, {"convert", "net.safetensors", "./photos/../net.safetensors", "--overwrite"},
	} {
		f.vgg(1, "the same file as the input", small, args...)
	}
}

func pipes(f faultFolder) {
	f.pipe("photos/red/pipe.png")
	f.pipe("pipe.yaml")
	f.vgg(1, "a named pipe, want a regular file", small, "classify", "net.safetensors", "photos/red/pipe.png")
	f.vgg(1, "a named pipe, want a regular file", small, "explain", "net.safetensors", "photos/red/pipe.png", "--out", "x.png")
	f.vgg(1, "a named pipe, want a regular file", small, append([]string{"train", "--data", "photos", "--recipe", "pipe.yaml", "--out", "r"}, faultRecipe...)...)
	f.vgg(1, "/dev/zero: a device, want a regular file", small, "classify", "net.safetensors", "photos", "--labels", "/dev/zero")
	for _, args := range [][]string{
		{"classify", "net.safetensors", "photos"}, {"stats", "photos"}, {"eval", "net.safetensors", "photos"}, {"shard", "photos", "--out", "shards"},
		{"features", "net.safetensors", "photos", "--out", "f.npy"}, {"features", "net.safetensors", "photos", "--layout", "files", "--out", "g.npy"}, {"index", "net.safetensors", "photos", "--out", "i.npy"},
		append([]string{"train", "--data", "photos", "--out", "run", "--epochs=1"}, faultRecipe...),
	} {
		f.vgg(0, "red/pipe.png", small, args...)
	}
}

func halfFiles(f faultFolder) {
	f.photos("many", 400)
	for _, out := range []string{"f.npy", "f.safetensors", "f.jsonl"} {
		cmd := f.command(f.Context(), "features", "net.safetensors", "many", "--out", out)
		if err := cmd.Start(); err != nil {
			f.Fatal(err)
		}
		for bytes.Count(f.read(out+".part.npy.jsonl"), []byte("\n")) < 3 && !f.exists(out) {
			time.Sleep(time.Millisecond)
		}
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil {
			f.Fatalf("%s: ended before it was killed", out)
		}
		if f.exists(out) || f.exists(out+".jsonl") {
			f.Errorf("%s: half a file has the name of the whole", out)
		}
	}
	f.vgg(1, "the same command goes on with it", small, "transfer", "train", "f.npy", "--out", "svm.safetensors")
	f.vgg(0, "", small, "features", "net.safetensors", "many", "--out", "f.npy")
	if left, _ := filepath.Glob(f.path("f.npy.part*")); len(left) > 0 || !f.exists("f.npy") {
		f.Errorf("after the same command: %v is left", left)
	}
	// A disk that is full: the earlier file stays.
	const mine = "what was there\n"
	for name, args := range map[string][]string{
		"t.csv": {"eval", "net.safetensors", "many", "--csv", "t.csv", "--overwrite"}, "e.png": {"explain", "net.safetensors", "photos/red/000.png", "--out", "e.png", "--overwrite"},
	} {
		f.write(name, []byte(mine))
		cmd := f.command(f.Context(), args...)
		cmd.Args = append([]string{"sh", "-c", `ulimit -f 1; exec -a vgg "$0" "$@"`, cmd.Path}, args...)
		cmd.Path = "/bin/bash"
		text, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(text), "file too large") {
			f.Errorf("%s: %v\n%s", name, err, text)
		}
		if got := f.read(name); string(got) != mine {
			f.Errorf("%s is %.20q, want the earlier file", name, got)
		}
	}
}

func (f faultFolder) read(name string) []byte {
	b, _ := os.ReadFile(f.path(name)) // of none: nothing
	return b
}

func notFinite(f faultFolder) {
	for name, value := range map[string]float64{"nan.safetensors": math.NaN(), "infinity.safetensors": math.Inf(1)} {
		if err := withValue(value, false).Save(f.Context(), f.path(name)); err != nil {
			f.Fatal(err)
		}
		f.vgg(1, "scores that are not finite", small, "classify", name, "photos/red/000.png")
		f.vgg(1, "scores that are not finite", small, "explain", name, "photos/red/000.png", "--out", "x.png")
		f.vgg(1, "scores that are not finite", small, "eval", name, "photos")
		text := f.vgg(1, "scores that are not finite", small, "classify", name, "photos/red/000.png", "--json")
		if !json.Valid([]byte(text)) {
			f.Errorf("no JSON: %s", text)
		}
	}
}

func decodingBudget(f faultFolder) {
	large := vggtest.PNG(5000, 4000, vggtest.Plain(vggtest.Red)) // 20 megapixels
	for i := range 6 {
		f.write(fmt.Sprintf("large/%c/%d.png", 'a'+rune(i%2), i), large)
	}
	f.write("large/a/s.png", vggtest.PNG(40, 40, vggtest.Plain(vggtest.Red)))
	f.vgg(0, "7 images", 700, "stats", "large", "--threads", "6", "--memory", "1GiB")
	f.vgg(3, "a part of the 300 MiB of memory allowed", 300, "stats", "large", "--threads", "6", "--memory", "300MiB", "--fresh")
}

func changedPictures(f faultFolder) {
	header := "P6 20 20 255\n"
	for i, name := range []string{"red/0", "red/1", "blue/0", "blue/1"} {
		f.write("set/"+name+".ppm", append([]byte(header), bytes.Repeat([]byte{byte(60 * i), 200, 30}, 400)...))
	}
	f.vgg(0, "", small, "eval", "net.safetensors", "set", "--out", "r.jsonl")
	f.vgg(0, "", small, "features", "net.safetensors", "set", "--out", "f.npy")
	f.write("set/red/0.ppm", append([]byte(header), bytes.Repeat([]byte{9, 9, 250}, 400)...)) // as many bytes
	f.vgg(0, "1 image", small, "eval", "net.safetensors", "set", "--out", "r.jsonl")
	f.vgg(0, "1 image", small, "features", "net.safetensors", "set", "--out", "f.npy")
}
