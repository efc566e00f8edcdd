//go:build mpi && (linux || darwin || freebsd)

package mpi

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is a loaded MPI. One thread makes all calls.
type library struct {
	functions map[string]uintptr
	sleep     uintptr     // usleep, of the C library
	exit      uintptr     // exit, of the C library, if the process is to end by it; see [Exit]
	ended     atomic.Bool // the job is to be ended by the next wait for other ranks
	handles
}

// handles are what the ABIs differ in: addresses of objects in Open MPI, numbers of 32 bits in
// MPICH and what follows its ABI, small addresses in the standard one.
type handles struct {
	world, byte, float, double uintptr
	inPlace                    uintptr
	errorsReturn               uintptr
	funneled                   int32 // MPI_THREAD_FUNNELED
}

var (
	mpich = handles{
		world: 0x44000000, byte: 0x4c00010d, float: 0x4c00040a, double: 0x4c00080b,
		inPlace: ^uintptr(0), errorsReturn: 0x54000001, funneled: 1,
	}
	// standard is the ABI of MPI 5.0, chapter 20.
	standard = handles{
		world: 0x101, byte: 0x247, float: 0x210, double: 0x214,
		inPlace: 1, errorsReturn: 0x143, funneled: 1024,
	}
)

var functionNames = []string{
	"MPI_Init_thread", "MPI_Finalize", "MPI_Initialized", "MPI_Comm_rank", "MPI_Comm_size", "MPI_Comm_set_errhandler", "MPI_Error_string",
	"MPI_Iallgather", "MPI_Ialltoallv", "MPI_Iallgatherv", "MPI_Ibcast", "MPI_Test", "MPI_Abort",
}

// candidates are the names to try. A process that mpirun of Open MPI started needs Open MPI: with
// another library every process would be a group of its own. Either family may have a library of
// the standard ABI.
func candidates(o Options) []string {
	if o.Library != "" {
		return []string{o.Library}
	}
	open, other := []string{"libmpi.so.40", "libmpi.so"}, []string{"libmpich.so.12", "libmpi.so.12", "libmpich.so"}
	abi := []string{"libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi_abi.so"}
	if runtime.GOOS == "darwin" {
		open, other = []string{"libmpi.40.dylib", "libmpi.dylib"}, []string{"libmpi.12.dylib", "libmpich.dylib"}
		abi = []string{"libmpi_abi.1.dylib", "libmpi_abi.0.dylib", "libmpi_abi.dylib"}
	}
	if os.Getenv("OMPI_COMM_WORLD_SIZE") != "" {
		return append(open, abi...)
	}
	if os.Getenv("PMI_SIZE") != "" {
		return append(other, abi...)
	}
	return slices.Concat(open, other, abi)
}

func load(o Options) (*library, error) {
	var tried []string
	for _, name := range candidates(o) {
		// GLOBAL: Open MPI's plug-ins look for its symbols.
		h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			tried = append(tried, err.Error())
			continue
		}
		return bind(h, name)
	}
	return nil, fmt.Errorf("mpi: no library of MPI: install Open MPI or MPICH, or name its file (VGG_MPI): %s", strings.Join(tried, "; "))
}

func bind(h uintptr, name string) (*library, error) {
	l := &library{functions: map[string]uintptr{}, handles: mpich}
	for _, f := range functionNames {
		address, err := purego.Dlsym(h, f)
		if err != nil {
			return nil, fmt.Errorf("mpi: %s is no library of MPI: %w", name, err)
		}
		l.functions[f] = address
	}
	var err error
	if l.sleep, err = purego.Dlsym(purego.RTLD_DEFAULT, "usleep"); err != nil {
		return nil, fmt.Errorf("mpi: the C library: %w", err)
	}
	if _, err := purego.Dlsym(h, "ompi_mpi_comm_world"); err != nil {
		if standardABI(h) {
			l.handles = standard
		}
		if l.exit, err = purego.Dlsym(purego.RTLD_DEFAULT, "exit"); err != nil {
			return nil, fmt.Errorf("mpi: the C library: %w", err)
		}
		return l, nil
	}
	l.inPlace = 1
	var errs []error
	for symbol, to := range map[string]*uintptr{
		"ompi_mpi_comm_world": &l.world, "ompi_mpi_byte": &l.byte, "ompi_mpi_float": &l.float, "ompi_mpi_double": &l.double,
		"ompi_mpi_errors_return": &l.errorsReturn,
	} {
		var err error
		*to, err = purego.Dlsym(h, symbol)
		errs = append(errs, err)
	}
	return l, errors.Join(errs...)
}

// standardABI reports whether a library has the standard ABI. Libraries of MPI 5 with an ABI of
// their own have the function, too.
func standardABI(h uintptr) bool {
	f, err := purego.Dlsym(h, "MPI_Abi_get_version")
	if err != nil {
		return false
	}
	var major, minor int32
	code, _, _ := purego.SyscallN(f, uintptr(unsafe.Pointer(&major)), uintptr(unsafe.Pointer(&minor)))
	return int32(code) == 0 && major >= 1
}

// call makes a call. What an argument is the address of, by a conversion in the call itself, is
// kept alive, and on the heap: a stack may move before the library writes. Other addresses of Go
// memory are pinned by the caller.
//
//go:uintptrescapes
func (l *library) call(name string, arguments ...uintptr) error {
	code, _, _ := purego.SyscallN(l.functions[name], arguments...)
	if int32(code) == 0 {
		return nil
	}
	return fmt.Errorf("mpi: %s: %s", name, l.text(int32(code)))
}

// How the thread waits for other ranks: a library's own blocking calls never leave the processor,
// which the layers that are still computed need. Many libraries move data only while they are
// asked, so pauses must be short; Go's timers are coarser by far, up to a millisecond.
const (
	busyWait = 50 * time.Microsecond // asks without a pause
	pause    = 20                    // microseconds
)

// together makes a call of all ranks, by the library's function that returns at once, and waits
// until it is done.
func (l *library) together(name string, arguments ...uintptr) error {
	// A request is an address or a number of 32 bits. A status is shorter than its room here.
	type state struct {
		request [2]uint64
		flag    int32
		status  [16]uint64
	}
	s := &state{}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(s)
	if err := l.call(name, append(arguments, uintptr(unsafe.Pointer(&s.request)))...); err != nil {
		return err
	}
	for asked := time.Now(); ; {
		if l.ended.Load() {
			return l.call("MPI_Abort", l.world, 1) // it doesn't return
		}
		if err := l.call("MPI_Test", uintptr(unsafe.Pointer(&s.request)), uintptr(unsafe.Pointer(&s.flag)), uintptr(unsafe.Pointer(&s.status))); err != nil {
			return err
		}
		if s.flag != 0 {
			return nil
		}
		if time.Since(asked) > busyWait {
			purego.SyscallN(l.sleep, pause)
			asked = time.Now()
		}
	}
}

// text is the library's word for an error.
func (l *library) text(code int32) string {
	var buffer [8192]byte
	var n int32
	purego.SyscallN(l.functions["MPI_Error_string"], uintptr(code), uintptr(unsafe.Pointer(&buffer[0])), uintptr(unsafe.Pointer(&n)))
	if n <= 0 || int(n) > len(buffer) {
		return fmt.Sprintf("error %d", code)
	}
	return string(buffer[:n])
}

// start initialises MPI on the calling thread, which must make all later calls, and returns the
// rank and the number of ranks.
func (l *library) start() (rank, size int, err error) {
	funneled := l.funneled
	var provided, r, n, already int32
	if err := l.call("MPI_Initialized", uintptr(unsafe.Pointer(&already))); err != nil {
		return 0, 0, err
	}
	if already != 0 {
		return 0, 0, errors.New("mpi: MPI is in use already: one group in a process")
	}
	if err := l.call("MPI_Init_thread", 0, 0, uintptr(funneled), uintptr(unsafe.Pointer(&provided))); err != nil {
		return 0, 0, err
	}
	if provided < funneled {
		return 0, 0, fmt.Errorf("mpi: the library gives thread level %d, want at least %d (MPI_THREAD_FUNNELED)", provided, funneled)
	}
	err = errors.Join(
		l.call("MPI_Comm_set_errhandler", l.world, l.errorsReturn),
		l.call("MPI_Comm_rank", l.world, uintptr(unsafe.Pointer(&r))),
		l.call("MPI_Comm_size", l.world, uintptr(unsafe.Pointer(&n))))
	return int(r), int(n), err
}
