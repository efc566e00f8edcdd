// Times a model of make_onnx.py in ONNX Runtime and prints one line of JSON:
// node ort_vgg.js --model FILE --batch N --size PIXELS --iters N --warmup N --threads N
'use strict';
const {parseArgs} = require('node:util');
const ort = require('onnxruntime-node');

const {values: flags} = parseArgs({options: {
  model: {type: 'string'},
  batch: {type: 'string', default: '1'},
  size: {type: 'string', default: '224'},
  iters: {type: 'string', default: '10'},
  warmup: {type: 'string', default: '2'},
  threads: {type: 'string', default: '2'},
}});
const [batch, size, iters, warmup, threads] =
  ['batch', 'size', 'iters', 'warmup', 'threads'].map((name) => Number(flags[name]));

async function main() {
  const session = await ort.InferenceSession.create(flags.model, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    enableCpuMemArena: true,
    enableMemPattern: true,
    // With these the shapes are known when the graph is optimised; a model of crops has no
    // h and w.
    freeDimensionOverrides: {n: batch, h: size, w: size},
    logSeverityLevel: 3,
  });
  const pixels = Float32Array.from({length: batch * 3 * size * size}, () => 2 * Math.random() - 1);
  const feeds = {x: new ort.Tensor('float32', pixels, [batch, 3, size, size])};
  const times = [];
  let y;
  for (let i = 0; i < warmup + iters; i++) {
    const start = process.hrtime.bigint();
    ({y} = await session.run(feeds));
    if (i >= warmup) times.push(Number(process.hrtime.bigint() - start) / 1e6);
  }
  times.sort((a, b) => a - b);
  const median = (times[(times.length - 1) >> 1] + times[times.length >> 1]) / 2;
  console.log(JSON.stringify({
    version: ort.env.versions.node,
    median_ms: median, min_ms: times[0], max_ms: times.at(-1),
    output: y.dims,
  }));
}

main();
