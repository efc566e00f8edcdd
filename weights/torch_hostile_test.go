package weights

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/verydeep/vgg/internal/vggtest"
)

// torchMember is a member of a zip file that a test puts together.
type torchMember struct {
	name, data string
	method     uint16
}

func torchZip(members ...torchMember) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method})
		if err == nil {
			_, err = w.Write([]byte(m.data))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// torchPickled is a zip file of this pickle and a storage "0" of 16 bytes.
func torchPickled(pickle string) []byte {
	return torchZip(torchMember{"archive/data.pkl", pickle, zip.Store}, torchMember{"archive/data/0", strings.Repeat("\x01", 16), zip.Store})
}

// torchOld is a legacy file of this pickle and what follows it.
func torchOld(pickle string, rest ...string) []byte {
	return []byte(torchLegacyMagic + "\x80\x02M\xe9\x03." + "\x80\x02}." + pickle + strings.Join(rest, ""))
}

// short is SHORT_BINUNICODE of s.
func short(s string) string { return "\x8c" + string(rune(len(s))) + s }

// torchStorageID is the persistent id of a storage.
func torchStorageID(class, key string, count string) string {
	return "(" + short("storage") + "c" + class + "\n" + short(key) + short("cpu") + count + "tQ"
}

// torchTensorOf is a call that makes a tensor in a storage.
func torchTensorOf(storage, offset, shape, strides string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + "(" + shape + "t(" + strides + "t\x89NtR"
}

// stateOf is a pickle of a dict of one tensor, "w".
func stateOf(tensor string) string { return "\x80\x02}" + short("w") + tensor + "s." }

func int8Of(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

// torchBad returns pickles, and what the error for each must say.
func torchBad() map[string]struct{ pickle, want string } {
	type c = struct{ pickle, want string }
	float := "torch\nFloatStorage"
	four := torchStorageID(float, "0", "K\x04")
	view := func(offset, shape, strides string) string {
		return stateOf(torchTensorOf(four, offset, shape, strides))
	}
	echo := short("touch pwned") + "\x85R."
	module := func(of string) string {
		// An nn.Module with two modules, a and b. Both are the value that of pushes.
		return "ctorch.nn\nModule\n)\x81}" + short("_modules") + "}(" + short("a") + of + short("b") + of + "us" + short("_parameters") +
			"}" + short("p") + torchTensorOf(four, "K\x00", "K\x04", "K\x01") + "ssb"
	}
	nested := "\x80\x04" + module("N") + "\x94"
	for i := range 60 {
		nested += "0" + module("h"+string([]byte{byte(i)})) + "\x94"
	}
	selfish := "\x80\x04}\x94(" + strings.Repeat("K\x01N", 20_000)
	for _, k := range torchStateKeys {
		selfish += short(k) + "h\x00"
	}
	selfish += "u."
	return map[string]c{
		"os.system":             {"\x80\x02cos\nsystem\n" + echo, "wants to run os.system, which no reading of weights needs: refused, and nothing was run"},
		"posix.system":          {"\x80\x02cposix\nsystem\n" + echo, "wants to run posix.system"},
		"nt.system":             {"\x80\x02cnt\nsystem\n" + echo, "nt.system"},
		"subprocess":            {"\x80\x02csubprocess\nPopen\n" + echo, "subprocess.Popen"},
		"eval":                  {"\x80\x02c__builtin__\neval\n" + echo, "builtins.eval"},
		"getattr":               {"\x80\x02cbuiltins\ngetattr\n" + echo, "builtins.getattr"},
		"by STACK_GLOBAL":       {"\x80\x04" + short("posix") + short("system") + "\x93" + echo, "posix.system"},
		"by INST":               {"(S'touch pwned'\niposix\nsystem\n.", "posix.system"},
		"by OBJ":                {"(cposix\nsystem\nS'touch pwned'\no.", "posix.system"},
		"by NEWOBJ":             {"\x80\x02cposix\nsystem\n" + short("touch pwned") + "\x85\x81.", "posix.system"},
		"by NEWOBJ_EX":          {"\x80\x04cposix\nsystem\n" + short("touch pwned") + "\x85}\x92.", "posix.system"},
		"by partial":            {"\x80\x02cfunctools\npartial\ncposix\nsystem\n\x85R.", "posix.system"},
		"by _rebuild_from_type": {"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch.hub\nload\nN)NtR.", "torch.hub.load"},
		"in a state dict":       {"\x80\x02}" + short("w") + "cposix\nsystem\n" + short("touch pwned") + "\x85Rs.", "posix.system"},
		"any function":          {"\x80\x02ctorch.hub\nload\n" + echo, "wants to run torch.hub.load"},
		"a class of anyone's":   {"\x80\x02c__main__\nModel\n" + echo, "wants to run __main__.Model"},
		"a call of a string":    {"\x80\x02" + short("x") + ")R.", "a call of what is no class or function"},
		"extension":             {"\x80\x02\x82\x01.", "opcode 0x82"},
		"name of control bytes": {"\x80\x02cos\n\x1b[31m\n)R.", `"os.\x1b[31m"`},

		"nothing":                    {"", "truncated: no end after 0 bytes"},
		"no end":                     {"\x80\x02}", "truncated: no end after 3 bytes"},
		"protocol 6":                 {"\x80\x06}.", "protocol 6, want at most 5"},
		"empty stack":                {".", "a value is missing on the stack"},
		"pop of nothing":             {"0N.", "a value is missing"},
		"tuple of nothing":           {"\x87.", "a value is missing"},
		"tuple without a mark":       {"t.", "a value is missing"},
		"under a mark":               {"N(\x85.", "a value is missing"},
		"build of nothing":           {"N(b.", "a value is missing"},
		"state of a number":          {"K\x01Nb.", "state for what has none"},
		"item of a number":           {"K\x01K\x02a.", "items put into no list or dict"},
		"key without a value":        {"}(K\x01u.", "key without a value"},
		"memo of 2^32":               {"Nr\xff\xff\xff\xff.", "memo entry 4294967295"},
		"no such memo":               {"h\x05.", "no memo entry 5"},
		"negative memo":              {"Np-1\n.", "memo entry -1"},
		"string of 2^63":             {"\x8d" + strings.Repeat("\xff", 8), "18446744073709551615 bytes claimed, 0 follow"},
		"string of 2^32":             {"X\xff\xff\xff\xff", "4294967295 bytes claimed"},
		"bytes of 2^62":              {"\x8e\x00\x00\x00\x00\x00\x00\x00\x40", "4611686018427387904 bytes claimed"},
		"number of 2^31 bytes":       {"\x8b\xff\xff\xff\x7f", "2147483647 bytes claimed"},
		"string not UTF-8":           {"\x8c\x01\xff.", "string is not UTF-8"},
		"long line":                  {"c" + strings.Repeat("m", 10_000), "line of over 1024 bytes"},
		"marks alone":                {strings.Repeat("(", 100_000), "truncated"},
		"a million dicts":            {strings.Repeat("}", 1_000_000) + ".", "more values than its length allows"},
		"sets of a long list":        {"(" + strings.Repeat("N", 5000) + "l\x94" + strings.Repeat("cbuiltins\nset\nh\x00\x85R0", 5000) + ".", "more values than its length allows"},
		"persistent id of no use":    {"K\x01Q.", "a persistent id that is no storage"},
		"nested tuples":              {"\x80\x04)\x94" + strings.Repeat("h\x00h\x00\x86q\x00", 5000) + ".", "no state dict: found a list"},
		"list in itself":             {"\x80\x04]\x94h\x00a.", "no state dict: found a list"},
		"dict in itself":             {"\x80\x04}\x94" + short("model") + "h\x00s.", "no state dict: found a dict of model"},
		"modules in modules":         {nested + ".", "modules that hold each other give too many tensors"},
		"dict in itself by all keys": {selfish, "modules that hold each other give too many tensors"},
		"module in itself":           {"\x80\x04ctorch.nn\nModule\n)\x81\x94}" + short("_modules") + "}" + short("a") + "h\x00ssb.", "modules in modules, over 100 deep"},
		"no tensors":                 {"\x80\x02}(" + short("epoch") + "K\x01" + short("lr") + "Nu.", "no state dict: found a dict of epoch, lr, want tensors by name, or such under state_dict, model_state_dict, model"},
		"a tensor alone":             {"\x80\x02" + torchTensorOf(four, "K\x00", "K\x04", "K\x01") + ".", "no state dict: found a tensor without a name"},

		"tensor past its storage":  {view("K\x01", "K\x04", "K\x01"), "w: ends past its storage: offset 1, shape [4], strides [1] in a storage of 4 elements of F32"},
		"strides past it":          {view("K\x00", "K\x02K\x02", "K\x04K\x01"), "w: ends past its storage"},
		"strides of 2^62":          {view("K\x00", "K\x03", int8Of(1<<62)), "w: ends past its storage"},
		"negative stride":          {view("K\x03", "K\x04", int8Of(-1)), "w: negative stride"},
		"negative offset":          {view(int8Of(-1), "K\x01", "K\x01"), "no number from 0 on"},
		"negative length":          {view("K\x00", int8Of(-4), "K\x01"), "w: shape negative or too large"},
		"expanded to 2^40":         {view("K\x00", int8Of(1<<40), "K\x00"), "w: repeats elements of its storage"},
		"shape of 2^62":            {view("K\x00", int8Of(1<<62)+int8Of(1<<62), "K\x00K\x00"), "w: shape negative or too large"},
		"shape of text":            {view("K\x00", short("x"), "K\x00"), "shape or strides aren't numbers"},
		"shape without strides":    {view("K\x00", "K\x04", ""), "w: shape and strides of different lengths"},
		"65 axes":                  {view("K\x00", strings.Repeat("K\x01", 65), strings.Repeat("K\x01", 65)), "a tensor of 65 axes, want at most 64"},
		"storage of 2^62 elements": {stateOf(torchTensorOf(torchStorageID(float, "0", int8Of(1<<62)), "K\x00", "K\x04", "K\x01")), "negative or too large"},
		"storage too large":        {stateOf(torchTensorOf(torchStorageID(float, "0", "K\x05"), "K\x00", "K\x04", "K\x01")), "w: truncated: storage 0 has 5 elements of F32, but 16 bytes"},
		"storage of doubles":       {stateOf(torchTensorOf(torchStorageID("torch\nDoubleStorage", "0", "K\x04"), "K\x00", "K\x04", "K\x01")), "w: truncated: storage 0 has 4 elements of F64, but 16 bytes"},
		"no such storage":          {stateOf(torchTensorOf(torchStorageID(float, "../../etc/passwd", "K\x04"), "K\x00", "K\x04", "K\x01")), "w: no member archive/data/../../etc/passwd"},
		"storage of no type":       {stateOf(torchTensorOf(torchStorageID("torch\nQInt8Storage", "0", "K\x04"), "K\x00", "K\x04", "K\x01")), "quantised weights of torch.ao.quantization (QInt8Storage)"},
		"storage of anyone's":      {stateOf(torchTensorOf(torchStorageID("evil\nFloatStorage", "0", "K\x04"), "K\x00", "K\x04", "K\x01")), "a storage of class evil.FloatStorage"},
		"tensor without a storage": {stateOf("ctorch\nFloatTensor\n)R"), "w: tensor without a storage"},
		"name twice":               {"\x80\x02}(" + strings.Repeat(short("w")+torchTensorOf(four, "K\x00", "K\x04", "K\x01"), 2) + "u.", "w: name given twice"},
	}
}

func TestTorchHostile(t *testing.T) {
	for name, c := range torchBad() {
		t.Run(name, func(t *testing.T) {
			_, err := open(torchPickled(c.pickle))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "weights: t.safetensors: ") {
				t.Fatalf("%v, want %q in it", err, c.want)
			}
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T, want a *FormatError", err)
			}
			if strings.Contains(c.want, "run ") || strings.Contains(c.want, "posix") {
				if _, err := open(torchOld(c.pickle)); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("legacy: %v, want %q in it", err, c.want)
				}
			}
		})
	}
}

// A sound twin of the pickles of torchBad is read, so each of them has only one fault.
func TestTorchHostileTwin(t *testing.T) {
	for _, storage := range []string{"torch\nFloatStorage", "torch.cuda\nFloatStorage"} {
		pickle := stateOf(torchTensorOf(torchStorageID(storage, "0", "K\x04"), "K\x01", "K\x03", "K\x01"))
		for _, file := range [][]byte{torchPickled(pickle), torchOld(pickle, "\x80\x02]"+short("0")+"a.", "\x04\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("\x01", 16))} {
			f, err := open(file)
			if err != nil {
				t.Fatal(err)
			}
			x, err := f.Read("w")
			if want := math.Float32frombits(0x01010101); err != nil || x.Len() != 3 || x.Data[2] != want {
				t.Errorf("%v, %v", x, err)
			}
		}
	}
}

// torchBadFiles returns files with a fault outside their pickle.
func torchBadFiles() map[string]struct {
	file []byte
	want string
} {
	type c = struct {
		file []byte
		want string
	}
	good := stateOf(torchTensorOf(torchStorageID("torch\nFloatStorage", "0", "K\x04"), "K\x00", "K\x04", "K\x01"))
	pkl, data := torchMember{"archive/data.pkl", good, zip.Store}, torchMember{"archive/data/0", strings.Repeat("\x01", 16), zip.Store}
	whole := torchZip(pkl, data)
	keys := "\x80\x02]" + short("0") + "a."
	bomb := torchMember{"archive/data/0", strings.Repeat("\x00", 1<<20), zip.Deflate}
	return map[string]c{
		"truncated":        {whole[:len(whole)-30], "truncated or damaged: want a zip file's directory at its end"},
		"cut in half":      {whole[:len(whole)/2], "truncated or damaged: want a zip file's directory at its end"},
		"deflated storage": {torchZip(pkl, bomb), "w: member archive/data/0 is compressed, want it stored"},
		"deflated pickle":  {torchZip(torchMember{"archive/data.pkl", good + strings.Repeat("\x00", 1<<20), zip.Deflate}, data), "member archive/data.pkl is compressed"},
		"two pickles":      {torchZip(pkl, data, torchMember{"b/data.pkl", good, zip.Store}), "two pickles"},
		"member twice":     {torchZip(pkl, data, data), "member archive/data/0: name given twice"},
		"path outside":     {torchZip(pkl, data, torchMember{"archive/../../evil", "x", zip.Store}), "member archive/../../evil is a path out of the file"},
		"absolute path":    {torchZip(pkl, data, torchMember{"/etc/passwd", "x", zip.Store}), "member /etc/passwd is a path out of the file"},
		"byteorder":        {torchZip(pkl, data, torchMember{"archive/byteorder", "middle", zip.Store}), "byteorder middle, want little or big"},
		"long byteorder":   {torchZip(pkl, data, torchMember{"archive/byteorder", strings.Repeat("big", 99), zip.Store}), "byteorder of 297 bytes"},
		"metadata":         {torchZip(pkl, data, torchMember{"archive/extra/metadata.json", "[1]", zip.Store}), "member archive/extra/metadata.json: json"},
		"overlap":          {overlappingZip(), "member x begins at 77, inside archive/data.pkl, which ends at 81"},
		"past the end":     {claimingZip(0, 4, 1000), "member archive/data.pkl: 1000 bytes from 46 on, but the file has"},
		"2^32 bytes":       {claimingZip(0, 4, math.MaxUint32-1), "member archive/data.pkl: 4294967294 bytes from 46 on"},
		"header past it":   {claimingZip(1<<30, 4, 4), "member archive/data.pkl: EOF"},

		"legacy version":        {[]byte(torchLegacyMagic + "K\x07."), "version 7 of PyTorch's legacy format, want 1001"},
		"legacy cut":            {torchOld(good)[:40], "truncated"},
		"legacy without keys":   {torchOld(good), "truncated"},
		"legacy keys a dict":    {torchOld(good, "}."), "no list of storages"},
		"legacy storage absent": {torchOld(good, "]."), "w: no storage 0"},
		"legacy other storage":  {torchOld(good, "]"+short("1")+"a."), "storage 1 belongs to no tensor"},
		"legacy storage twice":  {torchOld(good, "]("+short("0")+short("0")+"e.", "\x04\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("\x01", 16)), "storage 0 given twice"},
		"legacy without count":  {torchOld(good, keys, "\x04\x00"), "truncated before storage 0"},
		"legacy data cut":       {torchOld(good, keys, "\x04\x00\x00\x00\x00\x00\x00\x00", "\x01\x01"), "truncated: storage 0 of 4 elements of F32 claimed, 2 bytes follow"},
		"legacy 2^63":           {torchOld(good, keys, strings.Repeat("\xff", 8), "\x01\x01"), "truncated: storage 0 of 18446744073709551615 elements of F32"},
		"legacy 2^60":           {torchOld(good, keys, "\x00\x00\x00\x00\x00\x00\x00\x10", "\x01\x01"), "truncated: storage 0 of 1152921504606846976 elements"},
		"legacy fewer":          {torchOld(good, keys, "\x03\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("\x01", 12)), "w: truncated: storage 0 has 4 elements of F32, but 12 bytes"},
	}
}

// zipBuilder makes zip files that zip.Writer can't.
type zipBuilder struct{ file, directory []byte }

func (z *zipBuilder) header(name string) {
	z.file = append(z.file, "PK\x03\x04\x14\x00"...)
	z.file = append(z.file, make([]byte, 20)...)
	z.file = binary.LittleEndian.AppendUint16(z.file, uint16(len(name)))
	z.file = append(append(z.file, 0, 0), name...)
}

// list adds to the directory a member of so many bytes with its header at a byte.
func (z *zipBuilder) list(at int, name string, size uint32) {
	b := append(z.directory, "PK\x01\x02\x14\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	b = append(b, make([]byte, 12)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(at))
	z.directory = append(b, name...)
}

func (z *zipBuilder) end(members uint16) []byte {
	b := append(slices.Concat(z.file, z.directory), "PK\x05\x06\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint16(b, members)
	b = binary.LittleEndian.AppendUint16(b, members)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(z.directory)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(z.file)))
	return append(b, 0, 0)
}

// overlappingZip has a member inside another one.
func overlappingZip() []byte {
	var z zipBuilder
	z.header("archive/data.pkl")
	at := len(z.file)
	z.header("x")
	z.file = append(z.file, "data"...)
	z.list(0, "archive/data.pkl", uint32(len(z.file)-at))
	z.list(at, "x", 4)
	return z.end(2)
}

// claimingZip has a pickle of so many bytes, and a directory that claims another size and
// offset.
func claimingZip(at, bytes int, claimed uint32) []byte {
	var z zipBuilder
	z.header("archive/data.pkl")
	z.file = append(z.file, make([]byte, bytes)...)
	z.list(at, "archive/data.pkl", claimed)
	return z.end(1)
}

func TestTorchMalformedFiles(t *testing.T) {
	for name, c := range torchBadFiles() {
		t.Run(name, func(t *testing.T) {
			_, err := open(c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q in it", err, c.want)
			}
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Errorf("%T, want a *FormatError", err)
			}
		})
	}
}

// allocated returns the bytes that f allocates: the least of some tries, since other
// goroutines may allocate meanwhile.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// Opening a hostile file takes memory in proportion to its size.
func TestTorchAllocations(t *testing.T) {
	files := make(map[string][]byte)
	for name, c := range torchBad() {
		files[name] = torchPickled(c.pickle)
	}
	for name, c := range torchBadFiles() {
		files[name] = c.file
	}
	for name, file := range files {
		const slack = 128 << 10
		if got := allocated(func() { open(file) }); got > uint64(160*len(file)+slack) {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(file))
		}
	}
}

// A truncated file doesn't open, or its tensors can't be read. Nothing panics.
func TestTorchTruncatedAnywhere(t *testing.T) {
	for _, name := range []string{"views.pth", "views_legacy.pth"} {
		b, err := os.ReadFile(vggtest.Fixture(t, "testdata/torch/"+name))
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			if f, err := open(b[:n]); err == nil {
				t.Fatalf("%s: cut at %d of %d bytes, it opens: %v", name, n, len(b), f.Tensors())
			}
		}
	}
}

func ExampleOpen_pytorch() {
	f, err := Open(context.Background(), "testdata/example/d_checkpoint.pth")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	fmt.Println(f.Format(), f.Metadata()["checkpoint.arch"], f.Metadata()["torch.stripped"])
	for _, e := range f.Tensors()[:2] {
		fmt.Println(e.Name, e.DType, e.Shape)
	}
	// Output:
	// PyTorch vgg16 module.
	// features.0.weight F32 [1 3 3 3]
	// features.0.bias F32 [1]
}
