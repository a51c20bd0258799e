# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How a report page looks and reacts: its style sheet and its script.

They are Python strings and not files beside the package, so that no installation can lose them.
"""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfc; --card: #ffffff; --ink: #1b2026; --muted: #58626d; --rule: #e2e4e7; --grid: #ebedef;
  --images: #2a66ad; --videos: #b3561b; --third: #5b4b9a; --fourth: #2f7f78; --random: #a3abb4;
  --right: #1d7a48; --wrong: #b83227; --code: #f4f5f6;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1a1e22; --ink: #e7eaed; --muted: #a2acb7; --rule: #30363d; --grid: #272c32;
    --images: #74abea; --videos: #e59a5f; --third: #b0a2ec; --fourth: #67c1b8; --random: #66707b;
    --right: #52c08a; --wrong: #f17f74; --code: #20252a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 1064px; margin: 0 auto; padding: 56px 24px 72px; }
h1 { margin: 0 0 14px; font-size: 32px; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; }
h2 { margin: 0 0 6px; font-size: 21px; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; }
h3 { margin: 0; font-size: 15px; font-weight: 600; }
p { margin: 0 0 12px; }
section { margin-top: 52px; padding-top: 28px; border-top: 1px solid var(--rule); }
section > p { max-width: 44em; color: var(--muted); }
section > h3 { margin: 26px 0 10px; }
figure { margin: 0; }
.lede { max-width: 37em; font-size: 19px; line-height: 1.55; }
.lede b { font-weight: 650; }
.note { color: var(--muted); font-size: 13.5px; line-height: 1.5; }
.empty {
  margin: 12px 0 0; padding: 28px 16px; border: 1px dashed var(--rule); border-radius: 6px;
  color: var(--muted); text-align: center;
}
.kind-images { color: var(--images); }
.kind-videos { color: var(--videos); }

.charts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
  gap: 36px 48px; margin-top: 24px;
}
.charts > figure { max-width: 600px; min-width: 0; }
.charts .note { margin: 4px 0 0; }
.chart-head {
  display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline;
  gap: 2px 20px; margin-bottom: 8px;
}
.gain { font-size: 24px; line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; }
.gain small { font-size: 14px; font-weight: 400; letter-spacing: 0; color: var(--muted); }
.legend {
  margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0 16px;
  color: var(--muted); font-size: 13.5px;
}
.legend svg { display: inline-block; width: 20px; height: 8px; margin-right: 6px; vertical-align: 1px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 12px; fill: var(--muted); }
svg .name { font-size: 13px; fill: var(--ink); }
svg .figure { font-size: 14px; font-weight: 650; fill: var(--ink); }
svg .readout { fill: var(--ink); }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--muted); }
svg .level { stroke: var(--muted); stroke-dasharray: 4 3; }
svg .halo { stroke: var(--paper); stroke-width: 3; opacity: 0.75; }
svg .interval { fill: none; stroke: var(--ink); stroke-width: 1.2; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .raw { stroke-width: 1; opacity: 0.3; }
svg .cursor { stroke: var(--muted); stroke-width: 1; pointer-events: none; }
svg .mark { fill: var(--ink); pointer-events: none; }
.line.series-images {
  stroke: var(--images); } .bar.series-images, .dot.series-images { fill: var(--images);
}
.line.series-videos {
  stroke: var(--videos); } .bar.series-videos, .dot.series-videos { fill: var(--videos);
}
.line.series-videos:not(.raw) { stroke-dasharray: 7 4; }
.line.series-0 { stroke: var(--third); } .dot.series-0 { fill: var(--third); }
.line.series-1 { stroke: var(--fourth); } .dot.series-1 { fill: var(--fourth); }
.line.series-2 { stroke: var(--ink); } .dot.series-2 { fill: var(--ink); }
.line.series-3 { stroke: var(--wrong); } .dot.series-3 { fill: var(--wrong); }
.line.series-1:not(.raw), .line.series-3:not(.raw) { stroke-dasharray: 7 4; }
.bar.random { fill: var(--random); }

img { display: block; width: 100%; height: auto; border-radius: 3px; background: var(--grid); }
figcaption { font-size: 13px; line-height: 1.4; }
.small { color: var(--muted); font-size: 12.5px; font-weight: 400; overflow-wrap: anywhere; }
.rows {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr));
  gap: 28px 48px;
}
.triple { display: grid; grid-template-columns: repeat(3, minmax(0, 128px)); gap: 8px; }
.triple span { display: block; margin-top: 4px; color: var(--muted); font-size: 12.5px; }
.triple img { image-rendering: pixelated; }
.rows figcaption { margin-bottom: 6px; overflow-wrap: anywhere; }

.samples {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr));
  gap: 32px 48px; margin-top: 20px;
}
.samples figcaption { margin-bottom: 8px; line-height: 1.35; }
.samples figcaption b { font-weight: 600; }
.samples .gap { float: right; color: var(--muted); }
.view { display: grid; grid-template-columns: minmax(0, 1.45fr) repeat(2, minmax(0, 1fr)); gap: 12px; }
.view + .view { margin-top: 10px; }
.view span { display: block; margin-top: 3px; color: var(--muted); font-size: 12.5px; }
.framed {
  position: relative; width: min(100%, 134px * var(--shape)); overflow: hidden; border-radius: 3px;
}
.framed img { filter: brightness(0.82); }
.framed i {
  position: absolute; border: 2px solid #ffe14d; border-radius: 2px;
  backdrop-filter: brightness(1.22); box-shadow: 0 0 0 1px rgb(0 0 0 / 55%);
}

.query {
  display: grid; grid-template-columns: 128px minmax(0, 1fr) minmax(0, 1fr); gap: 12px 36px;
  padding: 20px 0;
}
.query + .query { border-top: 1px solid var(--grid); }
.query .asked { margin-top: 24px; }
.query .asked img { image-rendering: pixelated; }
.query figcaption { margin-top: 4px; overflow-wrap: anywhere; }
.strip > p { margin: 0 0 4px; font-size: 13px; line-height: 20px; }
.strip > p span { color: var(--muted); }
.strip ol {
  display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 96px)); gap: 8px;
  margin: 0; padding: 0; list-style: none;
}
.strip li { min-width: 0; font-size: 11.5px; line-height: 1.35; overflow-wrap: anywhere; }
.strip img { border: 3px solid; border-radius: 4px; margin-bottom: 3px; }
.strip .right img { border-color: var(--right); }
.strip .wrong img { border-color: var(--wrong); border-style: dashed; }
.strip b { font-weight: 700; }
.strip .right b { color: var(--right); }
.strip .wrong b { color: var(--wrong); }
.strip i { display: block; font-style: normal; color: var(--muted); }

pre {
  margin: 6px 0 0; padding: 11px 14px; background: var(--code); border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
code, pre {
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
.steps { margin: 16px 0 0; padding: 0; list-style: none; display: grid; gap: 18px; max-width: 50em; }
table { width: 100%; margin-top: 12px; border-collapse: collapse; font-size: 14px; }
th, td { padding: 7px 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top; }
th { width: 13em; padding-right: 20px; font-weight: 400; color: var(--muted); }
td { overflow-wrap: anywhere; white-space: pre-line; }
.wide tr:first-child td { color: var(--muted); font-size: 12.5px; }

@media (max-width: 900px) {
  .query { grid-template-columns: 128px minmax(0, 1fr); }
  .query .asked { grid-row: span 2; }
}
@media (max-width: 560px) {
  main { padding: 32px 16px 48px; }
  h1 { font-size: 26px; }
  .lede { font-size: 17px; }
  section { margin-top: 40px; padding-top: 22px; }
  .query { grid-template-columns: minmax(0, 1fr); }
  .query .asked { display: flex; gap: 12px; align-items: center; margin: 0; }
  .query .asked img { width: 96px; }
  .strip ol { gap: 6px; }
  .triple img { image-rendering: auto; }
  th { width: 40%; }
}
@media print {
  :root { color-scheme: light; }
  body { font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  section { margin-top: 24pt; padding-top: 12pt; }
  figure, .query, tr, .steps li { break-inside: avoid; }
  h2, h3, section > p { break-after: avoid; }
}
"""

SCRIPT = """
'use strict';
// Names the values nearest to the pointer. Everything else on the page works without it.
for (const svg of document.querySelectorAll('svg[data-curves]')) {
  const chart = JSON.parse(svg.dataset.curves);
  const curves = chart.curves.filter((curve) => curve.points.length);
  const readout = svg.querySelector('.readout');
  const added = [];
  const clear = () => { added.splice(0).forEach((node) => node.remove()); readout.textContent = ''; };
  const add = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    added.push(svg.insertBefore(node, readout));
  };
  const nearest = (points, x) =>
    points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  const show = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const anchor = nearest(curves.flatMap((curve) => curve.points), point.x);
    const found = curves.map((curve) => [curve.name, nearest(curve.points, anchor[0])])
      .filter(([, hit]) => hit[2] === anchor[2]);
    clear();
    add('line', { class: 'cursor', x1: anchor[0], x2: anchor[0], y1: 20, y2: 186 });
    for (const [, hit] of found) add('circle', { class: 'mark', cx: hit[0], cy: hit[1], r: 3 });
    const values = found.map(([name, hit]) => (curves.length > 1 ? name + ' ' : '') + hit[3] + chart.unit);
    readout.textContent = chart.x + ' ' + anchor[2] + ': ' + values.join(', ');
  };
  svg.addEventListener('pointermove', show);
  svg.addEventListener('pointerdown', show);
  svg.addEventListener('pointerleave', clear);
}
"""
