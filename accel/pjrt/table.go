package pjrt

// function is the place of a function in the plugin's table. The table only grows at its end.
type function int

const (
	errorDestroy               function = 0
	errorMessage               function = 1
	errorGetCode               function = 2
	pluginInitialize           function = 3
	pluginAttributes           function = 4
	eventDestroy               function = 5
	eventAwait                 function = 8
	clientCreate               function = 10
	clientDestroy              function = 11
	clientPlatformName         function = 12
	clientPlatformVersion      function = 14
	clientAddressableDevices   function = 16
	clientCompile              function = 20
	clientBufferFromHostBuffer function = 22
	descriptionID              function = 23
	descriptionAttributes      function = 25
	descriptionKind            function = 26
	descriptionToString        function = 28
	deviceGetDescription       function = 29
	deviceMemoryStats          function = 34
	executableDestroy          function = 40
	executableNumOutputs       function = 44
	executableOptimizedProgram function = 48
	executableSerialize        function = 49
	loadedDestroy              function = 50
	loadedGetExecutable        function = 51
	loadedAddressableDevices   function = 52
	loadedExecute              function = 55
	executableDeserialize      function = 56
	bufferDestroy              function = 58
	bufferElementType          function = 59
	bufferDimensions           function = 60
	bufferIsDeleted            function = 68
	bufferToHostBuffer         function = 70
	bufferUnsafePointer        function = 73
	topologyCreate             function = 82
	topologyDestroy            function = 83
	topologyPlatformName       function = 84
	topologyGetDescriptions    function = 86
	compileForTopology         function = 89
	executableElementTypes     function = 90
	executableDimensions       function = 91
	executableMemoryStats      function = 96
)

// names are the header's names of the functions, for messages.
var names = map[function]string{
	errorDestroy: "Error_Destroy", errorMessage: "Error_Message", errorGetCode: "Error_GetCode",
	pluginInitialize: "Plugin_Initialize", pluginAttributes: "Plugin_Attributes",
	eventDestroy: "Event_Destroy", eventAwait: "Event_Await",
	clientCreate: "Client_Create", clientDestroy: "Client_Destroy",
	clientPlatformName: "Client_PlatformName", clientPlatformVersion: "Client_PlatformVersion",
	clientAddressableDevices: "Client_AddressableDevices", clientCompile: "Client_Compile",
	clientBufferFromHostBuffer: "Client_BufferFromHostBuffer",
	descriptionID:              "DeviceDescription_Id", descriptionAttributes: "DeviceDescription_Attributes",
	descriptionKind: "DeviceDescription_Kind", descriptionToString: "DeviceDescription_ToString",
	deviceGetDescription: "Device_GetDescription", deviceMemoryStats: "Device_MemoryStats",
	executableDestroy: "Executable_Destroy", executableNumOutputs: "Executable_NumOutputs",
	executableOptimizedProgram: "Executable_OptimizedProgram", executableSerialize: "Executable_Serialize",
	loadedDestroy: "LoadedExecutable_Destroy", loadedGetExecutable: "LoadedExecutable_GetExecutable",
	loadedAddressableDevices: "LoadedExecutable_AddressableDevices", loadedExecute: "LoadedExecutable_Execute",
	executableDeserialize: "Executable_DeserializeAndLoad",
	bufferDestroy:         "Buffer_Destroy", bufferElementType: "Buffer_ElementType", bufferDimensions: "Buffer_Dimensions",
	bufferIsDeleted: "Buffer_IsDeleted", bufferToHostBuffer: "Buffer_ToHostBuffer", bufferUnsafePointer: "Buffer_UnsafePointer",
	topologyCreate: "TopologyDescription_Create", topologyDestroy: "TopologyDescription_Destroy",
	topologyPlatformName: "TopologyDescription_PlatformName", topologyGetDescriptions: "TopologyDescription_GetDeviceDescriptions",
	compileForTopology: "Compile", executableElementTypes: "Executable_OutputElementTypes",
	executableDimensions: "Executable_OutputDimensions", executableMemoryStats: "Executable_GetCompiledMemoryStats",
}

func (f function) String() string { return "PJRT_" + names[f] }
