'use strict';
(() => {
  const root = document.documentElement;
  const tip = document.getElementById('tip');

  // Theme: what the system says until the button is pressed.
  const button = document.getElementById('theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  const dark = () => root.dataset.theme ? root.dataset.theme === 'dark'
    : system.matches;
  const label = () => button.setAttribute('aria-pressed', dark());
  button.hidden = false;
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    label();
  });
  system.addEventListener('change', label);
  label();

  const number = v => String(Number(v.toPrecision(4))).replace('-', '−');
  const point = (svg, event) => new DOMPoint(event.clientX, event.clientY)
    .matrixTransform(svg.getScreenCTM().inverse());
  const make = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    Object.entries(attributes).forEach(([k, v]) => node.setAttribute(k, v));
    return node;
  };
  // The browser's own tooltip of a title would cover ours.
  const quiet = svg => {
    const title = svg.querySelector(':scope > title');
    const desc = svg.querySelector(':scope > desc');
    svg.removeAttribute('aria-labelledby');
    svg.setAttribute('aria-label', title.textContent);
    svg.setAttribute('aria-description', desc.textContent);
    title.remove();
    svg.tabIndex = 0;
  };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14,
      innerWidth - box.width - 8)) + 'px';
    tip.style.top = (y - box.height - 14 > 4 ? y - box.height - 14
      : y + 18) + 'px';
  };

  // Values under the pointer, read back from the lines.
  document.querySelectorAll('svg.chart').forEach(svg => {
    quiet(svg);
    const list = key => svg.dataset[key].split(' ').map(Number);
    const [left, top, width, height] = list('box');
    const [x0, x1] = list('x');
    const [y0, y1] = list('y');
    const log = 'log' in svg.dataset;
    const {step} = svg.dataset;
    const plane = step !== '';
    const xOf = px => x0 + (px - left) / width * (x1 - x0);
    const yOf = py => {
      const share = 1 - (py - top) / height;
      return log ? y0 * Math.pow(y1 / y0, share) : y0 + share * (y1 - y0);
    };
    const lines = [...svg.querySelectorAll('polyline')].map(line => ({
      name: line.dataset.name,
      steps: (line.dataset.t || '').split(' '),
      at: line.getAttribute('points').split(' ')
        .map(pair => pair.split(',').map(Number)),
    }));
    if (!lines.length) return;
    const every = [...new Set(lines.flatMap(line =>
      line.at.map(([x]) => x)))].sort((a, b) => a - b);
    const cross = make('path', {class: 'cross', visibility: 'hidden'});
    svg.append(cross);
    let place = null;

    const look = (x, y, cx, cy) => {
      let text;
      if (plane) {
        let best = null;
        lines.forEach(line => line.at.forEach(([px, py], i) => {
          const far = Math.hypot(px - x, py - y);
          if (!best || far < best.far) best = {far, line, px, py, i};
        }));
        const {line, px, py, i} = best;
        cross.setAttribute('d', `M${px - 7} ${py}h14M${px} ${py - 7}v14`);
        text = `${line.name}, ${step} ${line.steps[i]}\nentropy ${number(yOf(py))}, `
          + `reconstruction ${number(xOf(px))}\nbound `
          + number(yOf(py) - xOf(px));
      } else {
        const near = every.reduce((a, b) =>
          Math.abs(b - x) < Math.abs(a - x) ? b : a);
        place = every.indexOf(near);
        cross.setAttribute('d', `M${near} ${top}v${height}`);
        const found = new Map();
        lines.forEach(line => {
          const before = line.at.filter(([px]) => px <= near + 0.01).pop();
          if (before) found.set(line.name, before[1]);
        });
        text = [`${svg.dataset.xlabel} ${number(xOf(near))}`,
          ...[...found].map(([name, py]) => `${name}: ${number(yOf(py))}`)]
          .join('\n');
      }
      cross.setAttribute('visibility', 'visible');
      show(text, cx, cy);
    };
    const hide = () => {
      cross.setAttribute('visibility', 'hidden');
      tip.hidden = true;
    };
    const move = event => {
      const {x, y} = point(svg, event);
      look(x, y, event.clientX, event.clientY);
    };
    svg.addEventListener('pointermove', move);
    svg.addEventListener('pointerdown', move);
    svg.addEventListener('pointerleave', hide);
    svg.addEventListener('blur', hide);
    svg.addEventListener('keydown', event => {
      const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (event.key === 'Escape') hide();
      if (!move) return;
      event.preventDefault();
      const at = plane ? lines.flatMap(line => line.at) : every;
      place = place === null ? (move > 0 ? 0 : at.length - 1)
        : Math.max(0, Math.min(at.length - 1, place + move));
      const [x, y] = plane ? at[place] : [at[place], top];
      const screen = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
      look(x, y, screen.x, screen.y);
    });
  });

  // The image behind a character of the map.
  document.querySelectorAll('.board').forEach(board => {
    const svg = board.querySelector('svg');
    const peek = board.querySelector('.peek');
    const tile = peek.querySelector('.tile');
    const marks = [...svg.querySelectorAll('.mark')].map(mark => {
      const text = mark.querySelector('text');
      const title = mark.querySelector('title');
      const found = {mark, name: title.textContent, i: +mark.dataset.i,
        x: +text.getAttribute('x'), y: +text.getAttribute('y') - 3};
      title.remove();
      return found;
    });
    quiet(svg);
    const columns = +board.dataset.columns;
    const rows = +board.dataset.rows;
    const share = (i, n) => (n > 1 ? 100 * i / (n - 1) : 0) + '%';
    let on = null;
    const choose = found => {
      if (on) on.mark.classList.remove('on');
      on = found;
      on.mark.classList.add('on');
      // In front of the others.
      svg.append(on.mark);
      tile.style.backgroundPosition = share(on.i % columns, columns) + ' '
        + share(Math.floor(on.i / columns), rows);
      peek.querySelector('p').textContent = on.name;
      peek.hidden = false;
    };
    const nearest = (x, y, from) => {
      let best = null;
      marks.forEach(found => {
        if (found === from) return;
        const far = Math.hypot(found.x - x, found.y - y);
        if (!best || far < best.far) best = {far, found};
      });
      return best;
    };
    const move = event => {
      const {x, y} = point(svg, event);
      const best = nearest(x, y);
      if (best.far < 18) choose(best.found);
    };
    svg.addEventListener('pointermove', move);
    svg.addEventListener('pointerdown', move);
    svg.addEventListener('keydown', event => {
      const [dx, dy] = {ArrowLeft: [-1, 0], ArrowRight: [1, 0],
        ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key] || [0, 0];
      if (!dx && !dy) return;
      event.preventDefault();
      if (!on) return choose(nearest(180, 180).found);
      let best = null;
      marks.forEach(found => {
        const along = (found.x - on.x) * dx + (found.y - on.y) * dy;
        const aside = Math.abs((found.x - on.x) * dy)
          + Math.abs((found.y - on.y) * dx);
        if (found === on || along <= 0) return;
        const far = along + 2 * aside;
        if (!best || far < best.far) best = {far, found};
      });
      if (best) choose(best.found);
    });
  });
})();
