package cli

import (
	"fmt"
	"slices"

	"github.com/verydeep/vgg/accel/plugins"
	"github.com/verydeep/vgg/report"
)

type devicesCommand struct{ jsonFlag }

func (devicesCommand) Help() string {
	return `Lists the accelerators that --device can name: the plugins of XLA that are installed, their devices with the memory that programs can have, and how to install plugins for other devices.

  - Plugins are found by VGG_PJRT_PLUGIN, the path of one, and among the packages of the python3 and python on PATH.
  - Only a program that is built with -tags accel can use them. Others list the plugins' files, and say how to build one that can.

Examples:

    vgg devices
    vgg devices --json` + exitHelp
}

// buildAccel builds a program that can use accelerators. Such a program is linked dynamically.
const buildAccel = "go build -tags accel ./cmd/vgg"

// devicesResult has the JSON keys of `vgg devices --json`.
type devicesResult struct {
	Accelerators bool            `json:"accelerators"` // whether this program can use them
	Build        string          `json:"build"`        // what builds one that can
	Plugins      []pluginResult  `json:"plugins"`
	Missing      []missingResult `json:"missing"`
}

type pluginResult struct {
	Kind     string         `json:"kind,omitempty"`
	Path     string         `json:"path"`
	From     string         `json:"from"`
	PJRT     string         `json:"pjrt,omitempty"` // version of the interface
	Platform string         `json:"platform,omitempty"`
	Version  string         `json:"version,omitempty"`
	Devices  []deviceResult `json:"devices,omitempty"`
	Error    string         `json:"error,omitempty"`
}

type deviceResult struct {
	ID     int    `json:"id"`
	Kind   string `json:"kind"`
	Memory int64  `json:"memory,omitempty"` // bytes that programs can have
	InUse  int64  `json:"in_use,omitempty"`
}

type missingResult struct {
	Kind    string `json:"kind"`
	Title   string `json:"title"`
	Install string `json:"install"`
	Needs   string `json:"needs,omitempty"`
}

func (c *devicesCommand) Run(e *environment) error {
	installed, noPython := plugins.Installed(e.getenv)
	r := devicesResult{Accelerators: hasAccelerators, Build: buildAccel, Plugins: []pluginResult{}, Missing: []missingResult{}}
	for _, p := range installed {
		result := pluginResult{Kind: p.Kind, Path: p.Path, From: p.From}
		if err := describePlugin(&result); err != nil {
			result.Error = err.Error()
		}
		if result.Kind == "" {
			result.Kind = result.Platform
		}
		r.Plugins = append(r.Plugins, result)
	}
	for _, k := range plugins.Kinds() {
		if !slices.ContainsFunc(r.Plugins, func(p pluginResult) bool { return p.Kind == k.Name }) {
			r.Missing = append(r.Missing, missingResult{Kind: k.Name, Title: k.Title, Install: k.Install, Needs: k.Needs})
		}
	}
	if c.JSON {
		return writeJSON(e.stdout, r)
	}
	if noPython != nil {
		e.remark("plugins among Python's packages are not found: " + noPython.Error())
	}
	return r.print(e)
}

func (r *devicesResult) print(e *environment) error {
	for _, p := range r.Plugins {
		name := p.Kind
		if name == "" {
			name = "plugin"
		}
		fmt.Fprintf(e.stdout, "%s  %s\n", name, p.Path)
		if p.Error != "" {
			fmt.Fprintf(e.stdout, "    %s\n", p.Error)
		}
		for _, d := range p.Devices {
			fmt.Fprintf(e.stdout, "    %d: %s%s\n", d.ID, d.Kind, memoryText(d))
		}
	}
	if len(r.Plugins) == 0 {
		fmt.Fprintln(e.stdout, "No plugin for an accelerator is installed.")
	}
	width := 0
	for _, m := range r.Missing {
		width = max(width, len(m.Install))
	}
	for i, m := range r.Missing {
		if i == 0 {
			fmt.Fprintln(e.stdout, "\nTo install plugins for other devices, in the Python on PATH:")
		}
		needs := ""
		if m.Needs != "" {
			needs = "; needs " + m.Needs
		}
		fmt.Fprintf(e.stdout, "    %-*s  # %s (%s)%s\n", width, m.Install, m.Title, m.Kind, needs)
	}
	if !r.Accelerators {
		fmt.Fprintf(e.stdout, "\nThis program is built without accelerators, and uses none of them. In the source's folder, this builds one that does:\n    %s\n", r.Build)
	}
	return nil
}

// memoryText is a device's memory for people.
func memoryText(d deviceResult) string {
	if d.Memory == 0 {
		return ""
	}
	return fmt.Sprintf(", %s for programs, %s in use", report.Bytes(d.Memory), report.Bytes(d.InUse))
}
