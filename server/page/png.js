// Pictures within answers of JSON.

/** bitmap decodes a picture that is a data-URL, without an address that a page would load. */
export function bitmap(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], {type: "image/png"}), {colorSpaceConversion: "none"});
}

/** pixels returns the ImageData of such a picture. */
export async function pixels(url) {
  const picture = await bitmap(url);
  const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext("2d", {willReadFrequently: true});
  pen.drawImage(picture, 0, 0);
  const {width, height} = picture;
  picture.close();
  return pen.getImageData(0, 0, width, height);
}

/** onCanvas draws such a picture on a canvas of its size. */
export async function onCanvas(canvas, url) {
  const picture = await bitmap(url);
  Object.assign(canvas, {width: picture.width, height: picture.height});
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
}
