//lint:file-ignore U1000 the plugin reads and writes fields that no Go code names

package pjrt

import "unsafe"

// The structs of arguments are Go structs whose layout is C's on 64-bit machines, with the
// header's names in the comments. Handles and addresses of the plugin's memory are uintptr: the
// garbage collector has no part in them. Addresses of Go memory are unsafe.Pointer, so that it
// has. Structs grow at their ends; what a plugin doesn't know, it doesn't read.

// header begins every struct of arguments. size is what the caller knows of the struct.
type header struct {
	size       uintptr
	extensions uintptr
}

// tableHeader begins PJRT_Api; the functions follow it.
type tableHeader struct {
	header
	version struct {
		header
		major, minor int32
	}
}

// handleArgs are the arguments of functions that take a handle and return nothing.
type handleArgs struct {
	header
	handle uintptr
}

// pairArgs take a handle and return a handle, an address or a size_t.
type pairArgs struct {
	header
	in, out uintptr
}

// textArgs take a handle and return a string that isn't terminated.
type textArgs struct {
	header
	in, address, size uintptr
}

// numberArgs take a handle and return an int, an enum or a bool.
type numberArgs struct {
	header
	in     uintptr
	number int32
	_      int32
}

// listArgs take a handle and return an array.
type listArgs struct {
	header
	in, address, count uintptr
}

// attributesArgs return an array of named values: PJRT_Plugin_Attributes.
type attributesArgs struct {
	header
	address, count uintptr
}

// descriptionAttributesArgs: PJRT_DeviceDescription_Attributes, the count first.
type descriptionAttributesArgs struct {
	header
	in, count, address uintptr
}

type namedValue struct {
	header
	name     unsafe.Pointer
	nameSize uintptr
	kind     int32
	_        int32
	value    uint64 // the union: an address of pinned memory, or the bytes of a scalar
	count    uintptr
}

type clientCreateArgs struct {
	header
	options       unsafe.Pointer // []namedValue
	numOptions    uintptr
	get, getArg   uintptr // key-value store of several processes
	put, putArg   uintptr
	client        uintptr // out
	tryGet, tryOf uintptr
}

type programArgs struct { // PJRT_Program
	header
	code       unsafe.Pointer
	codeSize   uintptr
	format     unsafe.Pointer
	formatSize uintptr
}

type clientCompileArgs struct {
	header
	client      uintptr
	program     unsafe.Pointer // *programArgs
	options     unsafe.Pointer
	optionsSize uintptr
	executable  uintptr // out
}

type compileArgs struct {
	header
	topology    uintptr
	program     unsafe.Pointer // *programArgs
	options     unsafe.Pointer
	optionsSize uintptr
	client      uintptr
	executable  uintptr // out
}

// optimizedArgs: the program's code is nil to learn its size, then memory of the caller's.
type optimizedArgs struct {
	header
	executable uintptr
	program    unsafe.Pointer // *programArgs
}

type topologyCreateArgs struct {
	header
	name       unsafe.Pointer
	nameSize   uintptr
	options    unsafe.Pointer // []namedValue
	numOptions uintptr
	topology   uintptr // out
}

type fromHostArgs struct {
	header
	client     uintptr
	data       unsafe.Pointer
	kind       int32 // Type
	_          int32
	dims       unsafe.Pointer // []int64
	numDims    uintptr
	strides    unsafe.Pointer
	numStrides uintptr
	semantics  int32
	_          int32
	device     uintptr
	memory     uintptr
	layout     unsafe.Pointer
	done       uintptr // out: an event
	buffer     uintptr // out
}

type executeOptions struct {
	header
	send, receive       uintptr
	numSend, numReceive uintptr
	launchID            int32
	_                   int32
	keep                unsafe.Pointer // []int64: non_donatable_input_indices
	numKeep             uintptr
	context             uintptr
	callLocation        uintptr
	numTasks            uintptr
	taskIDs             uintptr
	incarnationIDs      uintptr
}

type executeArgs struct {
	header
	executable uintptr
	options    unsafe.Pointer // *executeOptions
	arguments  unsafe.Pointer // [devices]*[arguments]buffer
	numDevices uintptr
	numArgs    uintptr
	outputs    unsafe.Pointer // [devices]*[outputs]buffer, filled in
	complete   unsafe.Pointer // [devices]event, filled in
	device     uintptr
}

type tiledLayout struct { // PJRT_Buffer_MemoryLayout with its PJRT_Buffer_MemoryLayout_Tiled
	header
	tiled struct {
		header
		minorToMajor unsafe.Pointer // []int64
		rank         uintptr
		tileDims     uintptr
		tileSizes    uintptr
		numTiles     uintptr
	}
	kind int32
	_    int32
}

type toHostArgs struct {
	header
	buffer uintptr
	layout unsafe.Pointer // *tiledLayout
	to     unsafe.Pointer
	size   uintptr
	event  uintptr // out
}

type serializeArgs struct {
	header
	executable    uintptr
	address, size uintptr // out
	backing       uintptr // out
	free          uintptr // out: void (*)(backing)
}

type deserializeArgs struct {
	header
	client      uintptr
	data        unsafe.Pointer
	size        uintptr
	executable  uintptr // out
	options     unsafe.Pointer
	optionsSize uintptr
}

type executableDimensionsArgs struct {
	header
	executable uintptr
	count      uintptr // out
	dims       uintptr // out: []int64 of all outputs
	ranks      uintptr // out: []size_t
}

type compiledMemoryArgs struct {
	header
	executable                          uintptr
	code, argument, output, alias, temp int64
	hostCode, hostArgument, hostOutput  int64
	hostAlias, hostTemp                 int64
	peak, total                         int64
}

type optionalInt struct {
	value int64
	set   bool
	_     [7]byte
}

type deviceMemoryArgs struct {
	header
	device      uintptr
	inUse       int64
	peakInUse   optionalInt
	allocations optionalInt
	largest     optionalInt
	limit       optionalInt
	reserved    optionalInt
	peakReserve optionalInt
	reservable  optionalInt
	largestFree optionalInt
	pool        optionalInt
	peakPool    optionalInt
}
