//go:build accel

package cli

import (
	"fmt"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/accel/plugins"
)

// hasAccelerators says whether this program can use accelerators.
const hasAccelerators = true

// describePlugin loads a plugin and describes its devices. It takes them for a moment, without
// their memory.
func describePlugin(r *pluginResult) error {
	p, err := pjrt.Open(r.Path)
	if err != nil {
		return err
	}
	r.PJRT = fmt.Sprintf("%d.%d", p.Major, p.Minor)
	c, err := p.Look()
	if err != nil {
		return advised(err, plugins.Plugin{Kind: r.Kind})
	}
	r.Platform, r.Version = c.Platform, c.Version
	for _, d := range c.Devices {
		result := deviceResult{ID: d.ID, Kind: d.Kind}
		if m, err := d.Memory(); err == nil { // not every plugin knows
			result.Memory, result.InUse = m.Limit, m.InUse
		}
		r.Devices = append(r.Devices, result)
	}
	return c.Close()
}
