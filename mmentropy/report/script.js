'use strict';
// Draws the charts by uPlot from their data-drawing, which charts.py makes, and shows values
// under the pointer. Without it the page has texts and tables.
(() => {
  const ratio = devicePixelRatio;
  const tip = document.getElementById('tip');
  const probe = document.body.appendChild(document.createElement('i'));
  probe.hidden = true;
  // A canvas knows no CSS variables, so the browser resolves them.
  const colour = name => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const text = (value, digits = 4) =>
    value == null ? '' : String(Number(value.toPrecision(digits))).replace('-', '−');
  const show = (words, x, y) => {
    tip.textContent = words;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
    tip.style.top = (y - box.height - 14 > 4 ? y - box.height - 14 : y + 18) + 'px';
  };

  // Places are pixels of the canvas.
  const place = (u, x, y) => [u.valToPos(x, 'x', true), u.valToPos(y, 'y', true)];
  const clamp = (value, low, size) => Math.min(Math.max(value, low), low + size);
  const write = (u, words, x, y, name, font = 'bold', textAlign = 'left') => {
    Object.assign(u.ctx, {font: `${font} ${11 * ratio}px system-ui, sans-serif`,
      fillStyle: colour(name), textAlign, textBaseline: 'middle'});
    u.ctx.fillText(words, x, y);
  };
  const paint = (u, shape, fill, stroke) => {
    Object.assign(u.ctx, {fillStyle: colour(fill), strokeStyle: colour(stroke), lineWidth: ratio});
    u.ctx.fill(shape);
    u.ctx.stroke(shape);
  };
  // Letters right of the plot, moved apart where lines end close together.
  const drawLetters = (u, lines) => {
    const {left, top, width, height} = u.bbox;
    const room = 11 * ratio;
    const ends = lines.filter(line => line.key && line.y.some(y => y !== null)).map(line => ({line,
      at: clamp(u.valToPos(line.y.findLast(y => y !== null), 'y', true), top, height)}));
    ends.sort((a, b) => a.at - b.at);
    ends.forEach((end, i) => { if (i) end.at = Math.max(end.at, ends[i - 1].at + room); });
    ends.reverse().forEach((end, i) => {
      end.at = Math.min(end.at, i ? ends[i - 1].at - room : top + height);
      write(u, end.line.key, left + width + room / 2, end.at, end.line.colour);
    });
  };
  const drawAlarms = (u, line) => line.marks.forEach(([at, value]) => {
    if (value === null || at < u.scales.x.min || at > u.scales.x.max) return;
    const [x, y] = place(u, at, value);
    const size = 5 * ratio;
    const up = clamp(y, u.bbox.top, u.bbox.height) - size;
    paint(u, new Path2D(`M${x} ${up}l${size} ${2 * size}h${-2 * size}z`), 'alarm', 'paper');
  });
  const drawDiagonals = (u, diagonals) => diagonals.forEach(([bound, left, right]) => {
    const [x, y] = place(u, right, right + bound);
    const line = new Path2D();
    line.moveTo(...place(u, left, left + bound));
    line.lineTo(x, y);
    Object.assign(u.ctx, {strokeStyle: colour('muted'), lineWidth: ratio / 2});
    u.ctx.stroke(line);
    write(u, text(bound), x - 3 * ratio, y + 9 * ratio, 'muted', '', 'right');
  });
  const drawEnds = (u, line) => [0, line.x.length - 1].forEach((i, isEnd) => {
    const [x, y] = place(u, line.x[i], line.y[i]);
    const disc = new Path2D();
    disc.arc(x, y, 3.5 * ratio, 0, 7);
    paint(u, disc, isEnd ? line.colour : 'paper', line.colour);
    if (isEnd) write(u, line.key, x + 8 * ratio, y, line.colour);
  });
  const drawPath = (u, i) => {
    const stroke = new Path2D();
    u.data[i][0].forEach((x, row) => stroke.lineTo(...place(u, x, u.data[i][1][row])));
    return {stroke};
  };

  // All curves at the x of the pointer, each at its last value up to there, and alarms nearby.
  const valuesAt = (u, drawing) => {
    const at = u.cursor.idx;
    const near = mark => Math.abs(u.valToPos(mark[0], 'x') - u.cursor.left) < 6;
    const words = drawing.lines.flatMap((line, i) => {
      const value = u.data[i + 1].slice(0, at + 1).findLast(y => y !== undefined);
      return [...(value == null ? [] : [`${line.name}: ${text(value)}`]),
        ...line.marks.filter(near).map(mark => '▲ ' + mark[2])];
    });
    return [`${drawing.xlabel} ${text(u.data[0][at])}`, ...words].join('\n');
  };
  // The point of a path that is nearest to a place in CSS pixels.
  const nearest = (u, lines, left, top) => lines.flatMap(line => line.x.map((x, i) => {
    const px = u.valToPos(x, 'x');
    const py = u.valToPos(line.y[i], 'y');
    return {line, i, px, py, far: Math.hypot(px - left, py - top)};
  })).reduce((a, b) => b.far < a.far ? b : a);
  const pointAt = (u, drawing) => {
    const {line, i} = nearest(u, drawing.lines, u.cursor.left, u.cursor.top);
    const [xname, yname, difference] = drawing.names;
    return `${line.name}, ${drawing.step} ${text(line.steps[i])}\n${yname} ${text(line.y[i])}, `
      + `${xname} ${text(line.x[i])}\n${difference} ${text(line.y[i] - line.x[i])}`;
  };

  // Of the lines of a logarithmic axis, those at powers of ten are enough.
  const powers = (u, splits) =>
    splits.map(value => Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null);
  const axis = (drawing, label, size) => ({label, labelSize: label ? 18 : 0, size, gap: 4,
    labelGap: 0, font: '11px system-ui, sans-serif', labelFont: '11px system-ui, sans-serif',
    stroke: () => colour('muted'), ticks: {show: false},
    grid: {stroke: () => colour('line'), width: 1, ...(drawing.log && {filter: powers})},
    values: (u, splits) => splits.map(value => text(value, 12))});
  const series = plane => line => ({stroke: () => colour(line.colour), alpha: line.opacity,
    width: 1.8, dash: line.dash, points: {show: line.y.filter(y => y !== null).length === 1},
    ...(plane && {paths: drawPath, facets: [{scale: 'x', auto: true}, {scale: 'y', auto: true}]})});
  const charts = [...document.querySelectorAll('.chart')].map(node => {
    const drawing = JSON.parse(node.dataset.drawing);
    const {lines} = drawing;
    const plane = 'steps' in lines[0];
    const height = plane ? 320 : 210;
    const fixed = range => range && {range: () => range};
    const data = lines.map(line => [line.x, line.y]);
    const snapped = (u, left, top) => {
      const {px, py} = nearest(u, lines, left, top);
      return left < 0 ? [left, top] : [px, py];
    };
    const hover = u => {
      tip.hidden = u.cursor.left < 0 || !plane && u.cursor.idx == null;
      const box = u.over.getBoundingClientRect();
      if (!tip.hidden) show((plane ? pointAt : valuesAt)(u, drawing),
        box.left + u.cursor.left, box.top + u.cursor.top);
    };
    const finish = u => {
      if (plane) lines.forEach(line => drawEnds(u, line));
      else lines.forEach(line => drawAlarms(u, line));
      if (!plane) drawLetters(u, lines);
    };
    const chart = new uPlot({mode: plane ? 2 : 1, width: node.clientWidth, height,
      padding: [10, 22, 0, 0], legend: {show: false},
      cursor: {y: plane, drag: {x: false, y: false}, points: {show: false},
        ...(plane && {move: snapped})},
      scales: {x: {time: false, ...fixed(drawing.x)},
        y: {distr: drawing.log ? 3 : 1, ...fixed(drawing.y)}},
      axes: [axis(drawing, drawing.xlabel, 22), axis(drawing, drawing.ylabel, 46)],
      series: [plane ? null : {}, ...lines.map(series(plane))],
      hooks: {setCursor: [hover], draw: [finish],
        drawAxes: [u => drawDiagonals(u, drawing.diagonals || [])]},
    }, plane ? [null, ...data] : uPlot.join(data), node);
    node.classList.add('drawn');
    new ResizeObserver(() => node.clientWidth
      && chart.setSize({width: node.clientWidth, height})).observe(node);
    return chart;
  });

  // Colours follow the system, and paper is white.
  const repaint = () => charts.forEach(chart => chart.redraw(false));
  const print = on => () => { document.documentElement.classList.toggle('print', on); repaint(); };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  addEventListener('beforeprint', print(true));
  addEventListener('afterprint', print(false));
})();
