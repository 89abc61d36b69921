'use strict';
// Draws the charts by uPlot from their data-drawing, whose fields charts.py describes, and
// shows values and images under the pointer. Without it the page has texts and tables.
(() => {
  const root = document.documentElement;
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

  // Canvas pixels of a point of a chart.
  const place = (u, x, y) => [u.valToPos(x, 'x', true), u.valToPos(y, 'y', true)];
  const letter = (u, words, x, y, name, align = 'left') => {
    Object.assign(u.ctx, {font: `${align === 'left' ? 'bold' : ''} ${11 * devicePixelRatio}px system-ui, sans-serif`,
      fillStyle: colour(name), textAlign: align, textBaseline: 'middle'});
    u.ctx.fillText(words, x, y);
  };
  const shape = (u, name, filled, trace) => {
    u.ctx.beginPath();
    trace(u.ctx);
    Object.assign(u.ctx, {fillStyle: colour(filled ? name : 'paper'), strokeStyle: colour(name),
      lineWidth: 1.5 * devicePixelRatio});
    u.ctx.fill();
    u.ctx.stroke();
  };

  // Letters right of the plot, moved apart where lines end close together.
  const drawLetters = (u, lines) => {
    const {left, top, width, height} = u.bbox;
    const room = 11 * devicePixelRatio;
    const ends = lines.filter(line => line.key && line.y.some(y => y !== null)).map(line => {
      const last = u.valToPos(line.y.findLast(y => y !== null), 'y', true);
      return {line, y: Math.min(Math.max(last, top), top + height)};
    }).sort((a, b) => a.y - b.y);
    ends.forEach((end, i) => { if (i) end.y = Math.max(end.y, ends[i - 1].y + room); });
    ends.reverse().forEach((end, i) => {
      end.y = Math.min(end.y, i ? ends[i - 1].y - room : top + height);
      letter(u, end.line.key, left + width + room / 2, end.y, end.line.colour);
    });
  };

  // Alarms as triangles on their curve.
  const drawAlarms = (u, line) => line.marks.forEach(([at]) => {
    const before = line.x.findLastIndex((x, i) => x <= at && line.y[i] !== null);
    const i = before < 0 ? line.y.findIndex(y => y !== null) : before;
    if (i < 0 || at < u.scales.x.min || at > u.scales.x.max) return;
    const [x, y] = place(u, at, line.y[i]);
    const size = 5 * devicePixelRatio;
    const up = Math.min(Math.max(y, u.bbox.top), u.bbox.top + u.bbox.height);
    shape(u, 'alarm', true, ctx => {
      ctx.moveTo(x, up - size);
      ctx.lineTo(x + size, up + size);
      ctx.lineTo(x - size, up + size);
      ctx.closePath();
    });
  });

  // Lines of equal difference below the paths of a plane, named where they leave it.
  const drawDiagonals = (u, diagonals) => diagonals.forEach(([bound, left, right]) => {
    Object.assign(u.ctx, {strokeStyle: colour('muted'), lineWidth: devicePixelRatio / 2});
    u.ctx.beginPath();
    u.ctx.moveTo(...place(u, left, left + bound));
    u.ctx.lineTo(...place(u, right, right + bound));
    u.ctx.stroke();
    const [x, y] = place(u, right, right + bound);
    letter(u, text(bound), x - 3 * devicePixelRatio, y + 9 * devicePixelRatio, 'muted', 'right');
  });
  const drawEnds = (u, line) => [0, line.x.length - 1].forEach((i, last) => {
    const [x, y] = place(u, line.x[i], line.y[i]);
    shape(u, line.colour, last, ctx => ctx.arc(x, y, 3.5 * devicePixelRatio, 0, 7));
    if (last) letter(u, line.key, x + 8 * devicePixelRatio, y, line.colour);
  });
  const path = (u, i) => {
    const [xs, ys] = u.data[i];
    const stroke = new Path2D();
    xs.forEach((x, row) => stroke.lineTo(...place(u, x, ys[row])));
    return {stroke};
  };

  // What the pointer is at: all curves at one x, or the nearest point of a path.
  const valuesAt = (u, drawing) => {
    const {idx} = u.cursor;
    if (idx == null) return null;
    const at = u.data[0][idx];
    const words = drawing.lines.flatMap((line, i) => {
      const column = u.data[i + 1];
      let row = idx;
      while (row > 0 && column[row] === undefined) row--;
      const near = line.marks.filter(([x]) =>
        Math.abs(u.valToPos(x, 'x') - u.cursor.left) < 6).map(mark => '▲ ' + mark[1]);
      return [...(column[row] == null ? [] : [`${line.name}: ${text(column[row])}`]), ...near];
    });
    return [`${drawing.xlabel} ${text(at)}`, ...words].join('\n');
  };
  const nearestOnPath = (u, drawing) => {
    let best = {far: Infinity};
    drawing.lines.forEach(line => line.x.forEach((x, i) => {
      const far = Math.hypot(u.valToPos(x, 'x') - u.cursor.left,
        u.valToPos(line.y[i], 'y') - u.cursor.top);
      if (far < best.far) best = {far, line, x, y: line.y[i], step: line.steps[i]};
    }));
    const [xname, yname, difference] = drawing.names;
    return `${best.line.name}, ${drawing.step} ${text(best.step)}\n${yname} ${text(best.y)}, `
      + `${xname} ${text(best.x)}\n${difference} ${text(best.y - best.x)}`;
  };

  // Of the lines of a logarithmic axis, those at powers of ten are enough.
  const powers = (u, splits) => splits.map(v => String(v).match(/^(0\.0*)?10*$|^1e/) ? v : null);

  const draw = node => {
    const drawing = JSON.parse(node.dataset.drawing);
    const {lines} = drawing;
    const plane = 'steps' in lines[0];
    const axis = (label, size) => ({label, labelSize: label ? 18 : 0, size, gap: 4, labelGap: 0,
      font: '11px system-ui, sans-serif', labelFont: '11px system-ui, sans-serif',
      stroke: () => colour('muted'),
      grid: {stroke: () => colour('line'), width: 1, ...(drawing.log && {filter: powers})},
      ticks: {show: false}, values: (u, splits) => splits.map(value => text(value, 12))});
    const fixed = range => range ? {range: () => range} : {};
    const hooks = {setCursor: [u => {
      const inside = u.cursor.left >= 0 && (plane || u.cursor.idx != null);
      const words = inside && (plane ? nearestOnPath : valuesAt)(u, drawing);
      const box = u.over.getBoundingClientRect();
      if (words) show(words, box.left + u.cursor.left, box.top + u.cursor.top);
      else tip.hidden = true;
    }], drawAxes: [u => drawDiagonals(u, drawing.diagonals || [])],
    draw: [u => {
      if (plane) lines.forEach(line => drawEnds(u, line));
      else { lines.forEach(line => drawAlarms(u, line)); drawLetters(u, lines); }
    }]};
    const height = plane ? 320 : 210;
    const chart = new uPlot({
      mode: plane ? 2 : 1, width: node.clientWidth, height, hooks,
      padding: [10, 22, 0, 0], legend: {show: false},
      cursor: {y: plane, drag: {x: false, y: false}, points: {show: false}},
      scales: {x: {time: false, ...fixed(drawing.x)},
        y: {distr: drawing.log ? 3 : 1, ...fixed(drawing.y)}},
      axes: [axis(drawing.xlabel, 22), axis(drawing.ylabel, 46)],
      series: [plane ? null : {}, ...lines.map(line => ({
        stroke: () => colour(line.colour), alpha: line.opacity, width: 1.8,
        dash: line.dash, points: {show: line.y.filter(y => y !== null).length === 1},
        ...(plane ? {paths: path, facets: [{scale: 'x', auto: true}, {scale: 'y', auto: true}]}
          : {})}))],
    }, plane ? [null, ...lines.map(line => [line.x, line.y])]
      : uPlot.join(lines.map(line => [line.x, line.y])), node);
    node.classList.add('drawn');
    new ResizeObserver(() => node.clientWidth
      && chart.setSize({width: node.clientWidth, height})).observe(node);
    return chart;
  };
  const charts = [...document.querySelectorAll('.chart')].map(draw);

  // Colours follow the system, and paper is white.
  const repaint = () => charts.forEach(chart => chart.redraw(false));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  addEventListener('beforeprint', () => { root.classList.add('print'); repaint(); });
  addEventListener('afterprint', () => { root.classList.remove('print'); repaint(); });

  // The image behind a character of the map.
  document.querySelectorAll('.board').forEach(board => {
    const {columns, rows} = board.dataset;
    const peek = board.querySelector('.peek');
    const marks = [...board.querySelectorAll('.mark')];
    const share = (i, n) => (n > 1 ? 100 * i / (n - 1) : 0) + '%';
    board.addEventListener('pointerover', event => {
      const mark = event.target.closest('.mark');
      if (!mark) return;
      board.querySelector('.on')?.classList.remove('on');
      mark.classList.add('on');
      const i = marks.indexOf(mark);
      peek.querySelector('.tile').style.backgroundPosition =
        `${share(i % columns, columns)} ${share(Math.floor(i / columns), rows)}`;
      peek.querySelector('p').textContent = mark.querySelector('title').textContent;
      peek.hidden = false;
    });
  });
})();
