package pjrt

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// published is the table of tools/oracle/pjrt.py: what a C compiler makes of the header.
type published struct {
	version   string
	functions map[string]int
	structs   map[string]int
	fields    map[string][2]int // offset and size
	order     map[string][]string
	enums     map[string]int
}

func readPublished(t *testing.T) published {
	t.Helper()
	f, err := os.Open("testdata/layout.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := published{functions: map[string]int{}, structs: map[string]int{}, fields: map[string][2]int{}, order: map[string][]string{}, enums: map[string]int{}}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var kind, name string
		var a, b int
		n, _ := fmt.Sscan(lines.Text(), &kind, &name, &a, &b)
		switch {
		case kind == "#":
		case kind == "version":
			p.version = name
		case kind == "function" && n == 3:
			p.functions[name] = a
		case kind == "struct" && n == 3:
			p.structs[name] = a
		case kind == "enum" && n == 3:
			p.enums[name] = a
		case kind == "field" && n == 4:
			p.fields[name] = [2]int{a, b}
			of, field, _ := strings.Cut(name, ".")
			p.order[of] = append(p.order[of], field)
		default:
			t.Fatalf("%q", lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFunctions(t *testing.T) {
	p := readPublished(t)
	if want := fmt.Sprintf("%d.%d", Major, MinMinor); p.version != want {
		t.Errorf("the table is of version %s, the oldest that is taken is %s", p.version, want)
	}
	if got := reflect.TypeFor[tableHeader]().Size(); int(got) != p.fields["PJRT_Api.first"][0] {
		t.Errorf("functions begin at %d, want %v", got, p.fields["PJRT_Api.first"])
	}
	if len(names) < 40 {
		t.Fatalf("%d functions", len(names))
	}
	for f := range names {
		if want, ok := p.functions[f.String()]; !ok || int(f) != want {
			t.Errorf("%v is at %d, want %d", f, int(f), want)
		}
	}
}

// TestLayouts compares every struct with the header's: each field of ours has the offset and
// the size of the header's field that is named, in order, and no field of the header is left.
func TestLayouts(t *testing.T) {
	p := readPublished(t)
	for _, test := range []struct {
		c      string // without PJRT_
		ours   any
		fields string // the header's, after struct_size and extension_start
	}{
		{"Error_Destroy_Args", handleArgs{}, "error"},
		{"Error_Message_Args", textArgs{}, "error message message_size"},
		{"Error_GetCode_Args", numberArgs{}, "error code"},
		{"Plugin_Initialize_Args", header{}, ""},
		{"Plugin_Attributes_Args", attributesArgs{}, "attributes num_attributes"},
		{"Event_Destroy_Args", handleArgs{}, "event"},
		{"Event_Await_Args", handleArgs{}, "event"},
		{"NamedValue", namedValue{}, "name name_size type int64_value value_size"},
		{"Client_Create_Args", clientCreateArgs{}, "create_options num_options kv_get_callback kv_get_user_arg kv_put_callback kv_put_user_arg client kv_try_get_callback kv_try_get_user_arg"},
		{"Client_Destroy_Args", handleArgs{}, "client"},
		{"Client_PlatformName_Args", textArgs{}, "client platform_name platform_name_size"},
		{"Client_PlatformVersion_Args", textArgs{}, "client platform_version platform_version_size"},
		{"Client_AddressableDevices_Args", listArgs{}, "client addressable_devices num_addressable_devices"},
		{"Program", programArgs{}, "code code_size format format_size"},
		{"Client_Compile_Args", clientCompileArgs{}, "client program compile_options compile_options_size executable"},
		{"Client_BufferFromHostBuffer_Args", fromHostArgs{}, "client data type dims num_dims byte_strides num_byte_strides host_buffer_semantics device memory device_layout done_with_host_buffer buffer"},
		{"DeviceDescription_Id_Args", numberArgs{}, "device_description id"},
		{"DeviceDescription_Attributes_Args", descriptionAttributesArgs{}, "device_description num_attributes attributes"},
		{"DeviceDescription_Kind_Args", textArgs{}, "device_description device_kind device_kind_size"},
		{"DeviceDescription_ToString_Args", textArgs{}, "device_description to_string to_string_size"},
		{"Device_GetDescription_Args", pairArgs{}, "device device_description"},
		{"Device_MemoryStats_Args", deviceMemoryArgs{}, "device bytes_in_use peak_bytes_in_use peak_bytes_in_use_is_set num_allocs num_allocs_is_set largest_alloc_size largest_alloc_size_is_set bytes_limit bytes_limit_is_set bytes_reserved bytes_reserved_is_set peak_bytes_reserved peak_bytes_reserved_is_set bytes_reservable_limit bytes_reservable_limit_is_set largest_free_block_bytes largest_free_block_bytes_is_set pool_bytes pool_bytes_is_set peak_pool_bytes peak_pool_bytes_is_set"},
		{"Executable_Destroy_Args", handleArgs{}, "executable"},
		{"Executable_NumOutputs_Args", pairArgs{}, "executable num_outputs"},
		{"Executable_OptimizedProgram_Args", optimizedArgs{}, "executable program"},
		{"Executable_Serialize_Args", serializeArgs{}, "executable serialized_bytes serialized_bytes_size serialized_executable serialized_executable_deleter"},
		{"LoadedExecutable_Destroy_Args", handleArgs{}, "executable"},
		{"LoadedExecutable_GetExecutable_Args", pairArgs{}, "loaded_executable executable"},
		{"LoadedExecutable_AddressableDevices_Args", listArgs{}, "executable addressable_devices num_addressable_devices"},
		{"ExecuteOptions", executeOptions{}, "send_callbacks recv_callbacks num_send_ops num_recv_ops launch_id non_donatable_input_indices num_non_donatable_input_indices context call_location num_tasks task_ids incarnation_ids"},
		{"LoadedExecutable_Execute_Args", executeArgs{}, "executable options argument_lists num_devices num_args output_lists device_complete_events execute_device"},
		{"Executable_DeserializeAndLoad_Args", deserializeArgs{}, "client serialized_executable serialized_executable_size loaded_executable overridden_serialized_compile_options overridden_serialized_compile_options_size"},
		{"Buffer_Destroy_Args", handleArgs{}, "buffer"},
		{"Buffer_IsDeleted_Args", numberArgs{}, "buffer is_deleted"},
		{"Buffer_MemoryLayout_Tiled", tiledLayout{}.tiled, "minor_to_major minor_to_major_size tile_dims tile_dim_sizes num_tiles"},
		{"Buffer_MemoryLayout", tiledLayout{}, "tiled type"},
		{"Buffer_ToHostBuffer_Args", toHostArgs{}, "src host_layout dst dst_size event"},
		{"Buffer_UnsafePointer_Args", pairArgs{}, "buffer buffer_pointer"},
		{"TopologyDescription_Create_Args", topologyCreateArgs{}, "topology_name topology_name_size create_options num_options topology"},
		{"TopologyDescription_Destroy_Args", handleArgs{}, "topology"},
		{"TopologyDescription_PlatformName_Args", textArgs{}, "topology platform_name platform_name_size"},
		{"TopologyDescription_GetDeviceDescriptions_Args", listArgs{}, "topology descriptions num_descriptions"},
		{"Compile_Args", compileArgs{}, "topology program compile_options compile_options_size client executable"},
		{"Executable_OutputElementTypes_Args", listArgs{}, "executable output_types num_output_types"},
		{"Executable_OutputDimensions_Args", executableDimensionsArgs{}, "executable num_outputs dims dim_sizes"},
		{"Executable_GetCompiledMemoryStats_Args", compiledMemoryArgs{}, "executable generated_code_size_in_bytes argument_size_in_bytes output_size_in_bytes alias_size_in_bytes temp_size_in_bytes host_generated_code_size_in_bytes host_argument_size_in_bytes host_output_size_in_bytes host_alias_size_in_bytes host_temp_size_in_bytes peak_memory_in_bytes total_size_in_bytes"},
	} {
		c := "PJRT_" + test.c
		if _, ok := p.structs[c]; !ok {
			t.Errorf("the header has no %s", c)
			continue
		}
		if got := int(reflect.TypeOf(test.ours).Size()); got != p.structs[c] {
			t.Errorf("%s has %d bytes, want %d", c, got, p.structs[c])
		}
		want := append([]string{"struct_size", "extension_start"}, strings.Fields(test.fields)...)
		ours := flatten(reflect.TypeOf(test.ours), 0)
		if len(ours) != len(want) {
			t.Errorf("%s: %d fields, want %q", c, len(ours), want)
			continue
		}
		for i, name := range want {
			at, ok := p.fields[c+"."+name]
			// A bool is read with the bytes after it, which are zero before the call.
			if wide := ok && at[1] == 1 && ours[i][1] == 4; !ok || ours[i][0] != at[0] || ours[i][1] != at[1] && !wide {
				t.Errorf("%s.%s: offset and size %v, want %v", c, name, ours[i], at)
			}
		}
		// The other members of the unions have the offset of the one that is named.
		seen := map[int]bool{}
		for _, f := range ours {
			seen[f[0]] = true
		}
		for _, name := range p.order[c] {
			if !seen[p.fields[c+"."+name][0]] {
				t.Errorf("%s.%s is missing", c, name)
			}
		}
	}
}

// flatten returns offset and size of the fields that have names. Structs that begin with a
// header of their own are one field; others stand for their fields.
func flatten(s reflect.Type, base uintptr) (all [][2]int) {
	for i := range s.NumField() {
		f := s.Field(i)
		switch {
		case f.Name == "_":
		case f.Type.Kind() == reflect.Struct && (f.Anonymous || f.Type == reflect.TypeFor[optionalInt]()):
			all = append(all, flatten(f.Type, base+f.Offset)...)
		default:
			all = append(all, [2]int{int(base + f.Offset), int(f.Type.Size())})
		}
	}
	return all
}

func TestNumbers(t *testing.T) {
	p := readPublished(t)
	for name, got := range map[string]int{
		"NamedValue_kString": stringValue, "NamedValue_kInt64": intValue, "NamedValue_kInt64List": intsValue,
		"NamedValue_kFloat": floatValue, "NamedValue_kBool": boolValue,
		"Buffer_Type_PRED": int(Pred), "Buffer_Type_S8": int(S8), "Buffer_Type_S16": int(S16), "Buffer_Type_S32": int(S32), "Buffer_Type_S64": int(S64),
		"Buffer_Type_U8": int(U8), "Buffer_Type_U16": int(U16), "Buffer_Type_U32": int(U32), "Buffer_Type_U64": int(U64),
		"Buffer_Type_F16": int(F16), "Buffer_Type_F32": int(F32), "Buffer_Type_F64": int(F64), "Buffer_Type_BF16": int(BF16),
		"HostBufferSemantics_kImmutableUntilTransferCompletes": untilTransferCompletes,
		"Buffer_MemoryLayout_Type_Tiled":                       int(tiledLayout{}.kind),
		"Error_Code_CANCELLED":                                 int(Cancelled), "Error_Code_UNKNOWN": int(Unknown), "Error_Code_INVALID_ARGUMENT": int(InvalidArgument),
		"Error_Code_DEADLINE_EXCEEDED": int(DeadlineExceeded), "Error_Code_NOT_FOUND": int(NotFound), "Error_Code_ALREADY_EXISTS": int(AlreadyExists),
		"Error_Code_PERMISSION_DENIED": int(PermissionDenied), "Error_Code_RESOURCE_EXHAUSTED": int(ResourceExhausted),
		"Error_Code_FAILED_PRECONDITION": int(FailedPrecondition), "Error_Code_ABORTED": int(Aborted), "Error_Code_OUT_OF_RANGE": int(OutOfRange),
		"Error_Code_UNIMPLEMENTED": int(Unimplemented), "Error_Code_INTERNAL": int(Internal), "Error_Code_UNAVAILABLE": int(Unavailable),
		"Error_Code_DATA_LOSS": int(DataLoss), "Error_Code_UNAUTHENTICATED": int(Unauthenticated),
	} {
		if want, ok := p.enums["PJRT_"+name]; !ok || got != want {
			t.Errorf("PJRT_%s is %d, want %d", name, got, want)
		}
	}
}
