package pjrt

import (
	"fmt"
	"runtime"
	"unsafe"
)

// ProgramMemory is what an execution of a program takes of each device, in bytes.
type ProgramMemory struct {
	Code     int64
	Argument int64
	Output   int64
	Alias    int64 // of Output, what is memory of donated arguments
	Temp     int64
	Peak     int64 // the most that is in use at one time; 0: the plugin doesn't say
}

// Total returns what must be free for an execution whose arguments are not on the device yet.
func (m ProgramMemory) Total() int64 { return m.Code + m.Argument + m.Output - m.Alias + m.Temp }

// Memory returns what the compiler counted.
func (e *Compiled) Memory() (ProgramMemory, error) {
	h, err := e.open()
	if err != nil {
		return ProgramMemory{}, err
	}
	a, err := call(e.plugin, executableMemoryStats, compiledMemoryArgs{executable: h})
	return ProgramMemory{Code: a.code, Argument: a.argument, Output: a.output, Alias: a.alias, Temp: a.temp, Peak: a.peak}, err
}

// Serialize returns the compiled program, for [Client.Load] of the very same plugin, version of
// the driver and kind of device.
func (e *Compiled) Serialize() ([]byte, error) {
	h, err := e.open()
	if err != nil {
		return nil, err
	}
	a, err := call(e.plugin, executableSerialize, serializeArgs{executable: h})
	if err != nil {
		return nil, err
	}
	data := []byte(copyText(a.address, a.size))
	if a.free != 0 {
		invokeHandle(a.free, a.backing)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("program %s: the plugin serialised it to nothing", e.Program.Name)
	}
	return data, nil
}

// Optimized returns the program as the compiler left it, a serialised
// xla.HloModuleProtoWithConfig: it names the kernels and library calls that run.
func (e *Compiled) Optimized() ([]byte, error) {
	h, err := e.open()
	if err != nil {
		return nil, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pr := pad(programArgs{})
	pin.Pin(pr)
	a := optimizedArgs{executable: h, program: unsafe.Pointer(pr)}
	if _, err := call(e.plugin, executableOptimizedProgram, a); err != nil {
		return nil, err
	}
	code := make([]byte, pr.arguments.codeSize)
	if len(code) == 0 {
		return nil, fmt.Errorf("program %s: the plugin has no optimised form of it", e.Program.Name)
	}
	pin.Pin(&code[0])
	pr.arguments.code = unsafe.Pointer(&code[0])
	_, err = call(e.plugin, executableOptimizedProgram, a)
	return code, err
}
