// Files of pictures: folders that are dropped, and smaller copies to send.

const largest = 1024; // pixels of the longer side that is sent as it is
const side = 640;     // of the smaller side of a copy

/**
 * shrunk returns a picture as it is or, if it is much larger than any network looks at, a
 * smaller copy: a camera's file takes longer to send than to learn from.
 */
export async function shrunk(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file; // the service may know the format
  }
  const {width, height} = bitmap, by = side / Math.min(width, height);
  if (Math.max(width, height) <= largest || by >= 1) {
    bitmap.close();
    return file;
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * by);
  canvas.height = Math.round(height * by);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((done) => canvas.toBlob((b) => done(b ?? file), "image/jpeg", .95));
}

const most = 2000; // files of a drop

/** classesDropped returns what was dropped as pairs of a folder's name, or null, and its files. */
export async function classesDropped(transfer) {
  const entries = [...transfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [[null, [...transfer.files]]];
  const found = new Map([[null, []]]);
  let count = 0;
  const walk = async (entry, title) => {
    if (count >= most || entry.name.startsWith(".")) return;
    if (entry.isFile) {
      count++;
      if (!found.has(title)) found.set(title, []);
      found.get(title).push(await new Promise((done, fail) => entry.file(done, fail)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (part.length === 0) return;
      for (const e of part) await walk(e, entry.name);
    }
  };
  for (const entry of entries) await walk(entry, null);
  return [...found];
}
