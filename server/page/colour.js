// Viridis (CC0), a colour map that people who don't see red and green apart can read, by nine
// points of its table.

const stops = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

/** viridis has 256 colours as r, g, b. */
const viridis = new Uint8ClampedArray(3 * 256);
for (let i = 0; i < 256; i++) {
  const at = i / 255 * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at)), f = at - k;
  for (let c = 0; c < 3; c++) viridis[3 * i + c] = stops[k][c] + f * (stops[k + 1][c] - stops[k][c]);
}

/** paint makes a picture of rows×cols values from low to high. */
export function paint(values, rows, cols, low, high) {
  const image = new ImageData(cols, rows), scale = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < rows * cols; i++) {
    const k = 3 * Math.round(Math.min(255, Math.max(0, (values[i] - low) * scale)));
    image.data[4 * i] = viridis[k];
    image.data[4 * i + 1] = viridis[k + 1];
    image.data[4 * i + 2] = viridis[k + 2];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

/**
 * enlarge interpolates rows×cols values, so that the colours between two values are
 * the map's and not a mixture of two colours. Each value stays at the middle of its cell.
 */
export function enlarge(values, rows, cols, times) {
  const h = rows * times, w = cols * times, out = new Float32Array(h * w);
  const at = (i, n) => {
    const p = Math.min(n - 1, Math.max(0, (i + .5) / times - .5)), k = Math.min(n - 1, Math.floor(p));
    const f = p - k;
    return [k, Math.min(n - 1, k + 1), f * f * (3 - 2 * f)];
  };
  for (let y = 0; y < h; y++) {
    const [r0, r1, fy] = at(y, rows);
    for (let x = 0; x < w; x++) {
      const [c0, c1, fx] = at(x, cols);
      const top = values[r0 * cols + c0] + fx * (values[r0 * cols + c1] - values[r0 * cols + c0]);
      const bottom = values[r1 * cols + c0] + fx * (values[r1 * cols + c1] - values[r1 * cols + c0]);
      out[y * w + x] = top + fy * (bottom - top);
    }
  }
  return {values: out, rows: h, cols: w};
}

/** canvasOf draws an ImageData on a canvas of its size. */
export function canvasOf(image) {
  const c = document.createElement("canvas");
  c.width = image.width;
  c.height = image.height;
  c.getContext("2d").putImageData(image, 0, 0);
  return c;
}

/** legend returns a canvas of all colours from low to high. */
export function legend() {
  const ramp = Float32Array.from({length: 256}, (_, i) => i);
  const canvas = canvasOf(paint(ramp, 1, 256, 0, 255));
  canvas.className = "ramp";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Colours from low, dark violet, to high, yellow");
  return canvas;
}
