// Package accel runs networks on accelerators: it writes a chain of layers as programs for
// XLA's plugins (packages hlo and pjrt) and runs them on CPUs, NVIDIA's and AMD's GPUs and
// TPUs. Nothing of a plugin is needed to build it.
//
// [Open] takes a device. [Device.Runner] runs a network's forward passes there
// ([nn.Chain.SetRunner]), for one crop as for whole images of any size; [Device.NewTrainer]
// trains on one or several devices.
//
// Parameters stay on the device and are sent again only when they have changed. A program is
// compiled for each shape of input, once, and kept on disk where the plugin can write it.
// Results are those of the CPU to rounding; [Precision] says how much.
package accel
