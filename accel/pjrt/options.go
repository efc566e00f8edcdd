package pjrt

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// CompileOptions say how a program is compiled.
type CompileOptions struct {
	// Replicas is the number of devices that run the program together. 0 is 1, or as many as
	// there are Devices.
	Replicas int
	// Devices run the replicas, in this order. Nil: the client's first ones.
	Devices []*Device
	// Flags are XLA's debug options by name, such as xla_gpu_deterministic_ops: values are
	// bool, int, float64 or string. The plugin refuses names that it doesn't know.
	Flags map[string]any
}

// replicas returns the number of replicas.
func (o CompileOptions) replicas() (int, error) {
	n := o.Replicas
	if n == 0 {
		n = max(1, len(o.Devices))
	}
	if n < 0 || o.Devices != nil && len(o.Devices) != n {
		return 0, fmt.Errorf("compile: %d replicas on %d devices", o.Replicas, len(o.Devices))
	}
	return n, nil
}

// Numbers of fields in xla/pjrt/proto/compile_options.proto and xla/xla_data.proto.
const (
	optionsBuild       = 3 // CompileOptionsProto.executable_build_options
	optionsOverrides   = 7 // .env_option_overrides, a map
	buildDeviceOrdinal = 1 // ExecutableBuildOptionsProto.device_ordinal
	buildReplicas      = 4 // .num_replicas
	buildPartitions    = 5 // .num_partitions
	buildAssignment    = 9 // .device_assignment
	assignmentReplicas = 1 // DeviceAssignmentProto.replica_count
	assignmentParts    = 2 // .computation_count
	assignmentDevices  = 3 // .computation_devices
	partDeviceIDs      = 1 // ComputationDevice.replica_device_ids
	overrideString     = 1 // OptionOverrideProto.string_field
	overrideBool       = 2 // .bool_field
	overrideInt        = 3 // .int_field
	overrideDouble     = 4 // .double_field
	mapKey, mapValue   = 1, 2
)

// encode returns a CompileOptionsProto.
func (o CompileOptions) encode() ([]byte, error) {
	n, err := o.replicas()
	if err != nil {
		return nil, err
	}
	unset := int64(-1)
	build := appendVarint(nil, buildDeviceOrdinal, uint64(unset))
	build = appendVarint(build, buildReplicas, uint64(n))
	build = appendVarint(build, buildPartitions, 1) // XLA aborts on 0
	if o.Devices != nil {
		var ids []byte
		for _, d := range o.Devices {
			ids = protowire.AppendVarint(ids, uint64(d.ID))
		}
		a := appendVarint(nil, assignmentReplicas, uint64(n))
		a = appendVarint(a, assignmentParts, 1)
		a = appendBytes(a, assignmentDevices, appendBytes(nil, partDeviceIDs, ids))
		build = appendBytes(build, buildAssignment, a)
	}
	out := appendBytes(nil, optionsBuild, build)
	for _, name := range slices.Sorted(maps.Keys(o.Flags)) {
		value, err := encodeFlag(o.Flags[name])
		if err != nil {
			return nil, fmt.Errorf("compile: flag %s: %w", name, err)
		}
		entry := appendBytes(nil, mapKey, []byte(name))
		out = appendBytes(out, optionsOverrides, appendBytes(entry, mapValue, value))
	}
	return out, nil
}

// encodeFlag returns an OptionOverrideProto.
func encodeFlag(value any) ([]byte, error) {
	switch x := value.(type) {
	case string:
		return appendBytes(nil, overrideString, []byte(x)), nil
	case bool:
		v := uint64(0)
		if x {
			v = 1
		}
		return appendVarint(nil, overrideBool, v), nil
	case int:
		return appendVarint(nil, overrideInt, uint64(x)), nil
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(nil, overrideDouble, protowire.Fixed64Type), math.Float64bits(x)), nil
	}
	return nil, fmt.Errorf("a value of type %T: want bool, int, float64 or string", value)
}

func appendVarint(to []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.VarintType), v)
}

func appendBytes(to []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, field, protowire.BytesType), v)
}
