package pjrt

// PluginVariable is the environment variable that names a plugin's file.
const PluginVariable = "VGG_PJRT_PLUGIN"
