// Package preprocess turns the bytes of an image file into the input tensor of
// a network.
//
// The steps, in the order of the data: [Decode], [DecodeReader] or [DecodeFile]
// makes an 8-bit RGB [Image] of a JPEG, PNG, GIF, WebP, BMP, TIFF or PNM file, [FromImage]
// of an image.Image; [ResizeShort] or [ResizeRegion] rescales it, isotropically
// in the paper's protocol, so that its smallest side is S (training) or Q
// (testing); a crop and a horizontal flip follow; [Spec.Tensor] adds the RGB
// colour shift of [Stats] if one is given, subtracts the mean and writes planar
// float32.
//
// Sources: Simonyan & Zisserman, "Very Deep Convolutional Networks for
// Large-Scale Image Recognition", ICLR 2015, sections 2.1, 3.1 and 3.2;
// Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep
// Convolutional Neural Networks", NIPS 2012, section 4.1.
package preprocess
