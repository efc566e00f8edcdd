// Package localize learns and predicts bounding boxes as the paper does (appendix A): a
// network whose last layer gives a box (single-class regression, SCR) or a box for each
// class (per-class regression, PCR) is fine-tuned from a classification network, run on
// the central crop or densely over the whole image, and its boxes are merged greedily.
//
// Every box that the package takes or returns is x0, y0, x1, y1 in pixels of the image. The
// boxes of a data set are of the image as it is stored; those that a [Locator] finds are of the
// image that it was given. The form that the network learns (centre, width and height in units of the crop's
// side) stays inside the package.
package localize
