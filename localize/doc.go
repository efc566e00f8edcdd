// Package localize learns and predicts bounding boxes as the paper does (appendix A): a
// network whose last layer gives a box (single-class regression, SCR) or a box for each
// class (per-class regression, PCR) is fine-tuned from a classification network, run on
// the central crop or densely over the whole image, and its boxes are merged greedily.
//
// A box at the package's boundary is x0, y0, x1, y1 in pixels of the image as it is
// stored. The network's own form, centre, width and height in units of the crop's side,
// stays inside.
package localize
