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
// Errors that a program may want to tell apart have types, for errors.As, or are values, for
// errors.Is:
//
//   - a file that holds no weights: [*weights.UnsupportedError]; damaged weights:
//     [*weights.FormatError]; no file: [fs.ErrNotExist];
//   - a network without classes: [ErrHeadless]; a localisation network where classes are
//     wanted: [*LocaliserError]; the opposite: [ErrNotLocaliser];
//   - a file that is no image: [*preprocess.FormatError]; a damaged image:
//     [*preprocess.DecodeError]; one that is too large: [*preprocess.SizeError]; an image of a
//     data set, for any of these reasons: dataset.BadImage;
//   - a training that diverged: train.DivergedError; too many unreadable images:
//     train.TooManyBadError;
//   - a run directory or result file that another process is writing: HeldError; that belongs
//     to another run: OtherRunError; both in packages train, eval, transfer and localize;
//   - a context that is done: its cause.
//
// Package network builds networks from the configurations of package architecture,
// package train trains them, and package eval evaluates them by the paper's protocols.
package vgg
