package eval

import "fmt"

// Protocol is which part of an image the network sees.
type Protocol int

const (
	// Centre is the central crop of the network's input side.
	Centre Protocol = iota
	// Dense is the whole uncropped image: the fully connected layers run as
	// convolutions, and the class score map is averaged over space before the soft-max
	// (§3.2).
	Dense
)

// ParseProtocol returns the protocol called name: "centre" ("center") or "dense".
func ParseProtocol(name string) (Protocol, error) {
	switch name {
	case "centre", "center":
		return Centre, nil
	case "dense":
		return Dense, nil
	}
	return 0, fmt.Errorf("eval: protocol %q, want centre or dense", name)
}

// String returns the protocol's name.
func (p Protocol) String() string {
	switch p {
	case Centre:
		return "centre"
	case Dense:
		return "dense"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
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
