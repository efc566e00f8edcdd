package eval

import (
	"fmt"
	"slices"
	"strings"
)

// Protocol chooses the parts of an image that the network sees.
type Protocol int

const (
	// Centre is the central crop of the network's input side.
	Centre Protocol = iota
	// Dense is the whole uncropped image: the fully connected layers run as
	// convolutions, and the class score map is averaged over space before the soft-max
	// (§3.2).
	Dense
	// MultiCrop is 50 crops for each scale: a regular grid of 5×5 over the image and
	// over its mirror image (§3.2); see [Grid].
	MultiCrop
	// MultiCropDense is the mean of MultiCrop's and Dense's posteriors (§4.3).
	MultiCropDense
	// TenCrop is the crops at the four corners and the centre of the image and of its
	// mirror image (Krizhevsky et al. 2012), placed as in torchvision; see [FiveCrops].
	TenCrop
)

var protocolNames = []string{"centre", "dense", "multi-crop", "multi-crop-dense", "ten-crop"}

// ParseProtocol returns the protocol called name: centre (or center), dense, multi-crop,
// multi-crop-dense or ten-crop.
func ParseProtocol(name string) (Protocol, error) {
	if name == "center" {
		return Centre, nil
	}
	if i := slices.Index(protocolNames, name); i >= 0 {
		return Protocol(i), nil
	}
	return 0, fmt.Errorf("eval: protocol %q, want %s or %s", name,
		strings.Join(protocolNames[:len(protocolNames)-1], ", "), protocolNames[len(protocolNames)-1])
}

// String returns the protocol's name.
func (p Protocol) String() string {
	if p < 0 || int(p) >= len(protocolNames) {
		return fmt.Sprintf("Protocol(%d)", int(p))
	}
	return protocolNames[p]
}

// MarshalText writes the protocol's name.
func (p Protocol) MarshalText() ([]byte, error) {
	return []byte(p.String()), p.validate()
}

// UnmarshalText reads a protocol's name.
func (p *Protocol) UnmarshalText(text []byte) error {
	q, err := ParseProtocol(string(text))
	if err != nil {
		return err
	}
	*p = q
	return nil
}

func (p Protocol) validate() error {
	_, err := ParseProtocol(p.String())
	return err
}

// parts returns the protocols whose posteriors p averages.
func (p Protocol) parts() []Protocol {
	if p == MultiCropDense {
		return []Protocol{MultiCrop, Dense}
	}
	return []Protocol{p}
}

// Mirrors reports whether the protocol contains mirror images by definition.
func (p Protocol) Mirrors() bool { return p == MultiCrop || p == TenCrop }
