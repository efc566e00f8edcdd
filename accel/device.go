package accel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/verydeep/vgg/accel/hlo"
	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/journal"
)

// Precision is that of convolutions and of the products of fully connected layers. Everything
// else is float32.
type Precision string

const (
	// F32 multiplies float32 numbers: on GPUs without TF32, on TPUs by six products of bfloat16.
	F32 Precision = "f32"
	// TF32 lets GPUs multiply with 10 bits of fraction, and TPUs by three products of bfloat16.
	TF32 Precision = "tf32"
	// BF16 rounds both operands to bfloat16, 8 bits, and the results of convolutions too. Sums
	// are float32.
	BF16 Precision = "bf16"
)

// Precisions lists the precisions, the most exact first.
func Precisions() []Precision { return []Precision{F32, TF32, BF16} }

// products is XLA's name of the precision.
func (p Precision) products() hlo.Precision {
	switch p {
	case TF32:
		return hlo.High
	case BF16:
		return hlo.Default
	}
	return hlo.Highest
}

// Options choose a device.
type Options struct {
	Plugin    string    // file of the plugin
	Platform  string    // what the plugin must be for, such as cuda; empty: anything
	Count     int       // devices to take; 0: one
	First     int       // number of the first of them, for processes that share a machine; a processor is everybody's
	Precision Precision // empty: F32
	// CacheDir is the folder that keeps compiled programs; empty: none are kept.
	CacheDir string
}

// Device is one or several devices of a kind that this process has taken. Any number of
// goroutines may use it.
type Device struct {
	client    *pjrt.Client
	devices   []*pjrt.Device
	precision Precision
	cache     cache
	limit     int64        // bytes that programs can have of each device; 0: the plugin doesn't say
	holds     atomic.Int64 // bytes that runners and trainers hold on the first device between programs

	mu       sync.Mutex
	programs map[programKey]*pjrt.Executable
}

// programKey tells programs apart.
type programKey struct {
	code     [sha256.Size]byte // the hash of the text, which is long
	replicas int
	exact    bool
}

// Open takes the devices of a plugin.
func Open(o Options) (*Device, error) {
	if o.Precision == "" {
		o.Precision = F32
	}
	if !slices.Contains(Precisions(), o.Precision) {
		return nil, fmt.Errorf("accel: precision %q, want one of %s", o.Precision, journal.List(Precisions()))
	}
	plugin, err := pjrt.Open(o.Plugin)
	if err != nil {
		return nil, fmt.Errorf("accel: %w", err)
	}
	count := max(1, o.Count)
	client, chosen, err := newClient(plugin.NewClient, o.Platform, o.First, count)
	if err != nil {
		return nil, fmt.Errorf("accel: %w", err)
	}
	if o.Platform != "" && client.Platform != o.Platform {
		err := &PlatformError{Plugin: o.Plugin, Is: client.Platform, Want: o.Platform}
		return nil, errors.Join(err, client.Close())
	}
	devices := client.Devices
	if !chosen && client.Platform != "cpu" {
		devices = devices[min(o.First, len(devices)):]
	}
	if count > len(devices) {
		err := &TooFewError{Platform: client.Platform, Count: count, First: o.First, Have: len(client.Devices)}
		return nil, errors.Join(err, client.Close())
	}
	d := &Device{client: client, devices: devices[:count], precision: o.Precision, programs: map[programKey]*pjrt.Executable{}}
	d.cache = newCache(o.CacheDir, client, drivers)
	if m, err := devices[0].Memory(); err == nil {
		d.limit = m.Limit
	}
	return d, nil
}

// PlatformError says that a plugin is for another platform than asked for.
type PlatformError struct{ Plugin, Is, Want string }

func (e *PlatformError) Error() string {
	return fmt.Sprintf("accel: %s is a plugin for %s, not for %s", e.Plugin, e.Is, e.Want)
}

// TooFewError says that there are fewer devices than are asked for.
type TooFewError struct {
	Platform     string
	Count, First int // what is asked for: so many, from this number on
	Have         int // devices in all; where only those asked for are seen, so many of them
}

func (e *TooFewError) Error() string {
	from := ""
	if e.First > 0 {
		from = fmt.Sprintf(" from number %d on", e.First)
	}
	return fmt.Sprintf("accel: %d devices%s, and %s has %d", e.Count, from, e.Platform, e.Have)
}

// defaultCPUs is the number of devices that XLA makes of a processor.
const defaultCPUs = 4

// isGPU reports whether a platform's client takes all memory of the devices that it sees.
func isGPU(platform string) bool { return platform == "cuda" || platform == "rocm" }

// newClient takes a plugin's devices. Of GPUs it takes those that are asked for and no others: the
// option is tried wherever they could be GPUs, and plugins for others refuse it. chosen reports
// that the client has no others. A processor is as many devices as are asked for; with the number
// its threads change, and so do bits, so up to the default there is always the default.
func newClient(open func(pjrt.Settings) (*pjrt.Client, error), platform string, first, count int) (client *pjrt.Client, chosen bool, err error) {
	if platform == "" || isGPU(platform) {
		client, err := open(pjrt.Settings{"visible_devices": numbers(first, count)})
		if err == nil {
			return client, len(client.Devices) <= count, nil
		}
		// Is it the option that is wrong, or the numbers? All devices are counted without taking
		// their memory.
		all, countErr := open(pjrt.Settings{"preallocate": false})
		if countErr == nil {
			if have := len(all.Devices); have < first+count {
				err = &TooFewError{Platform: all.Platform, Count: count, First: first, Have: have}
			}
			return nil, false, errors.Join(err, all.Close())
		}
		if !pjrt.IsCode(err, pjrt.InvalidArgument) || !pjrt.IsCode(countErr, pjrt.InvalidArgument) {
			return nil, false, err
		}
	}
	if count > defaultCPUs {
		if client, err := open(pjrt.Settings{"cpu_device_count": count}); err == nil {
			return client, false, nil
		}
	}
	client, err = open(nil)
	return client, false, err
}

// numbers lists count numbers.
func numbers(first, count int) []int64 {
	all := make([]int64, count)
	for i := range all {
		all[i] = int64(first + i)
	}
	return all
}

// Name says what the device is: its platform and kind, and how many there are.
func (d *Device) Name() string {
	name := d.client.Platform
	if kinds := d.kinds(); !slices.Equal(kinds, []string{name}) {
		name += " " + strings.Join(kinds, " and ")
	}
	if n := len(d.devices); n > 1 {
		name = fmt.Sprintf("%d × %s", n, name)
	}
	return name
}

// ID is the platform, the kinds of the devices and the precision, on which the bits of results
// depend.
func (d *Device) ID() string {
	parts := []string{d.client.Platform}
	if kinds := d.kinds(); !slices.Equal(kinds, parts) {
		parts = append(parts, strings.Join(kinds, " and "))
	}
	return strings.Join(append(parts, string(d.precision)), " ")
}

// kinds lists the kinds of the devices in the order of the alphabet.
func (d *Device) kinds() []string {
	var kinds []string
	for _, device := range d.devices {
		kinds = append(kinds, device.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// Count is the number of devices taken.
func (d *Device) Count() int { return len(d.devices) }

// Precision is that of the products.
func (d *Device) Precision() Precision { return d.precision }

// Close frees the programs and gives the devices back. What was made of the device must have
// been closed before.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, e := range d.programs {
		errs = append(errs, e.Free())
	}
	clear(d.programs)
	return errors.Join(append(errs, d.client.Close())...)
}

// compile returns the executable of a program on the first devices, one for each replica. It
// compiles a program once. exact forbids operations whose bits vary from run to run. It is a
// [*TooLargeError] if the device has less memory than the work wants.
func (d *Device) compile(p pjrt.Program, replicas int, exact bool, w work) (*pjrt.Executable, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := programKey{sha256.Sum256(p.Code), replicas, exact}
	if e := d.programs[key]; e != nil {
		return e, d.fits(e, w)
	}
	o := pjrt.CompileOptions{Devices: d.devices[:replicas], Flags: d.flags(exact)}
	e, err := d.cache.load(p, o)
	if err != nil {
		return nil, err
	}
	if e == nil {
		if e, err = d.client.Compile(p, o); err != nil {
			return nil, fmt.Errorf("accel: %w", err)
		}
		d.cache.save(e, o)
	}
	if err := d.fits(e, w); err != nil {
		return nil, errors.Join(err, e.Free())
	}
	d.programs[key] = e
	return e, nil
}

// flags are the compiler's.
func (d *Device) flags(exact bool) map[string]any {
	flags := map[string]any{}
	if exact && isGPU(d.client.Platform) {
		flags["xla_gpu_deterministic_ops"] = true
	}
	return flags
}

// program makes a plugin's program of a function that returns the results.
func program(name string, f *hlo.Func, replicas int, results ...hlo.Value) (pjrt.Program, error) {
	code, err := f.Program(replicas, results...)
	if err != nil {
		return pjrt.Program{}, fmt.Errorf("accel: %s: %w", name, err)
	}
	p := pjrt.Program{Name: name, Code: []byte(code)}
	for _, t := range f.Args() {
		p.Inputs = append(p.Inputs, shapeOf(t))
	}
	for _, v := range results {
		p.Outputs = append(p.Outputs, shapeOf(v.Type))
	}
	return p, nil
}

// shapeOf is a type in the plugin's terms.
func shapeOf(t hlo.Type) pjrt.Shape {
	kinds := map[hlo.Elem]pjrt.Type{hlo.F32: pjrt.F32, hlo.BF16: pjrt.BF16, hlo.I32: pjrt.S32, hlo.U32: pjrt.U32, hlo.U64: pjrt.U64, hlo.Bool: pjrt.Pred}
	return pjrt.NewShape(kinds[t.Elem], t.Dims...)
}
