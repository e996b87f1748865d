// Moves and scales the drawing: mouse, touch, wheel, keys.  It sets one attribute, so nothing is drawn again by Preact.
const LEAST = 0.04, MOST = 2.5, DETAIL = 0.4;

export function createCamera(svg, layer) {
  let x = 0, y = 0, scale = 1, isMoved = false, wasDragged = false, queued = 0;
  const pointers = new Map();

  function apply() {
    queued ||= requestAnimationFrame(() => {
      queued = 0;
      layer.setAttribute("transform", `translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${scale.toFixed(4)})`);
      svg.classList.toggle("far", scale < DETAIL);
    });
  }
  function zoom(factor, at = {x: svg.clientWidth / 2, y: svg.clientHeight / 2}) {
    const next = Math.min(MOST, Math.max(LEAST, scale * factor));
    [x, y, scale] = [at.x - ((at.x - x) * next) / scale, at.y - ((at.y - y) * next) / scale, next];
    isMoved = true;
    apply();
  }
  function pan(dx, dy) {
    [x, y, isMoved] = [x + dx, y + dy, true];
    apply();
  }
  function fit(bounds, isClose = false) {
    if (!bounds || !svg.clientWidth) return;
    const margin = Math.min(48, svg.clientWidth * 0.06), width = svg.clientWidth - 2 * margin, low = svg.clientWidth > 820 ? 40 : 84, height = svg.clientHeight - low - margin;
    scale = Math.min(Math.max(1.25, svg.clientWidth / 1500), Math.max(LEAST, Math.min(width / bounds.width, height / bounds.height)));
    x = (svg.clientWidth - bounds.width * scale) / 2 - bounds.left * scale;
    y = Math.max(margin / 2, (svg.clientHeight - low - bounds.height * scale) / 2) - bounds.top * scale;
    isMoved = isClose;
    apply();
  }
  // Moves no further than needed for *place* to be seen.
  function show(place) {
    const margin = Math.min(120, svg.clientWidth / 3), edge = Math.min(60, svg.clientHeight / 3), at = {x: x + place.x * scale, y: y + place.y * scale};
    const dx = Math.max(0, margin - at.x) - Math.max(0, at.x - (svg.clientWidth - margin)), dy = Math.max(0, edge - at.y) - Math.max(0, at.y - (svg.clientHeight - edge));
    if (dx || dy) [x, y] = [x + dx, y + dy];
    apply();
  }
  const local = (event) => {
    const box = svg.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return {far: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2};
  };
  const on = {
    wheel(event) {
      event.preventDefault();
      zoom(Math.exp(-Math.max(-80, Math.min(80, event.deltaY * (event.deltaMode ? 16 : 1))) / 250), local(event));
    },
    pointerdown(event) {
      if (event.button > 0) return;
      if (!pointers.size) wasDragged = false;
      pointers.set(event.pointerId, {...local(event), began: local(event)});
    },
    pointermove(event) {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = local(event);
      if (!wasDragged && Math.hypot(now.x - before.began.x, now.y - before.began.y) < 4) return;
      if (!wasDragged) svg.setPointerCapture(event.pointerId);
      wasDragged = true;
      const old = pointers.size > 1 ? spread() : before;
      pointers.set(event.pointerId, {...now, began: before.began});
      const next = pointers.size > 1 ? spread() : now;
      if (pointers.size > 1) zoom(next.far / Math.max(1, old.far), next);
      pan(next.x - old.x, next.y - old.y);
    },
    pointerup: (event) => pointers.delete(event.pointerId),
    pointercancel: (event) => pointers.delete(event.pointerId),
    click(event) {
      if (wasDragged) event.stopPropagation();
      wasDragged = false;
    },
    keydown(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = 60, moves = {ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]};
      if (event.key === "+" || event.key === "=") zoom(1.25);
      else if (event.key === "-") zoom(0.8);
      else if (moves[event.key] && event.target === svg) pan(...moves[event.key]);
      else return;
      event.preventDefault();
    },
  };
  for (const [name, listener] of Object.entries(on)) svg.addEventListener(name, listener, {passive: false, capture: name === "click"});
  return {fit, zoom, show, isMoved: () => isMoved, isFar: () => scale < DETAIL, end: () => Object.entries(on).forEach(([name, listener]) => svg.removeEventListener(name, listener, {capture: name === "click"}))};
}
