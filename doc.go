// Package vgg opens, uses and saves the networks of Simonyan & Zisserman, "Very Deep
// Convolutional Networks for Large-Scale Image Recognition" (ICLR 2015). A [Model] is a
// network with the names of its classes and the preprocessing of its input.
//
// Classify a photograph:
//
//	model, err := vgg.Open(ctx, "best.safetensors", vgg.OpenOptions{})
//	…
//	top, err := model.ClassifyFile("cat.jpg", 5)
//
// Package network builds networks from the configurations of package architecture,
// package train trains them, and package eval evaluates them by the paper's protocols.
package vgg
