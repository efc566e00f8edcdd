package vgg

import (
	"errors"
	"fmt"
	"strings"
)

// Regression is the kind of boxes that the last layer of a localisation network gives
// (§A.1).
type Regression string

const (
	// SCR is single-class regression: one box, whatever the class; 4 outputs.
	SCR Regression = "SCR"
	// PCR is per-class regression: a box for each class; 4 outputs a class, those of
	// class c being 4c to 4c+3.
	PCR Regression = "PCR"
)

// ParseRegression returns the regression called name, in any case.
func ParseRegression(name string) (Regression, error) {
	switch r := Regression(strings.ToUpper(name)); r {
	case SCR, PCR:
		return r, nil
	}
	return "", fmt.Errorf("vgg: regression %q, want SCR or PCR", name)
}

// Outputs returns the number of outputs of the last layer for a number of classes.
func (r Regression) Outputs(classes int) int {
	if r == SCR {
		return 4
	}
	return 4 * classes
}

// Localisation marks a model as a localisation network: the outputs of its last layer
// are boxes, as package localize reads them, not scores of classes.
type Localisation struct {
	Regression Regression `json:"regression"`
	// Rule names the rule that training applied to boxes that leave the crop.
	Rule string `json:"rule,omitempty"`
	// MeanBox is the mean box of the training images and ClassBoxes that of each class, as
	// shares of their image's width and height: x0, y0, x1, y1. They are the baselines that
	// the network is measured against.
	MeanBox    [4]float64   `json:"mean_box"`
	ClassBoxes [][4]float64 `json:"class_boxes"`
}

// check reports why l does not describe a network with those outputs and classes.
func (l *Localisation) check(outputs, classes int) error {
	if _, err := ParseRegression(string(l.Regression)); err != nil {
		return err
	}
	if len(l.ClassBoxes) != classes {
		return fmt.Errorf("%d mean boxes, want one for each of %d classes", len(l.ClassBoxes), classes)
	}
	if want := l.Regression.Outputs(classes); outputs != want {
		return fmt.Errorf("%d outputs, want %d of %s of %d classes", outputs, want, l.Regression, classes)
	}
	return nil
}

// ErrNotLocaliser is the error of asking a classification network for boxes.
var ErrNotLocaliser = errors.New("a classification network, want a localisation network")

// LocaliserError is the error of asking a localisation network for classes.
type LocaliserError struct {
	Regression Regression
	Classes    int
}

func (e *LocaliserError) Error() string {
	return fmt.Sprintf("a localisation network (%s of %d classes), which gives boxes and no classes: want a classification network; vgg localize takes this one", e.Regression, e.Classes)
}

// refusal returns the error of asking the network for classes.
func (l *Localisation) refusal(classes int) error {
	return &LocaliserError{l.Regression, classes}
}
