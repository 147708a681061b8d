// Looking closer at a picture: wheel, pinch, double click, keys, and dragging. And swiping to the next one.
"use strict";

{
  const MOST = 8;
  const STEP = 1.5;
  const SWIPE_PX = 60;
  const stage = document.getElementById("stage");
  const level = document.getElementById("zoom-level");

  let picture = null;
  let scale = 1;
  let left = 0;
  let top = 0;
  let start = null;
  let onSwipe = () => {};
  const pointers = new Map();

  const isPicture = () => picture !== null;

  function apply() {
    if (!picture) return;
    const { clientWidth, clientHeight } = stage;
    const wide = Math.max(0, (picture.clientWidth * scale - clientWidth) / 2);
    const high = Math.max(0, (picture.clientHeight * scale - clientHeight) / 2);
    left = Math.max(-wide, Math.min(wide, left));
    top = Math.max(-high, Math.min(high, top));
    picture.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    stage.classList.toggle("is-zoomed", scale > 1);
    const natural = picture.naturalWidth ? (100 * scale * picture.clientWidth) / picture.naturalWidth : 0;
    level.textContent = scale === 1 ? "Fit" : natural ? `${Math.round(natural)} %` : `× ${scale.toFixed(1)}`;
  }

  /** Zoom so that the point under the pointer stays where it is. */
  function to(wanted, x = 0, y = 0) {
    const next = Math.max(1, Math.min(MOST, wanted));
    left = x - ((x - left) * next) / scale;
    top = y - ((y - top) * next) / scale;
    scale = next;
    if (scale === 1) left = top = 0;
    apply();
  }

  const fromMiddle = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  };

  stage.addEventListener("wheel", (event) => {
    if (!isPicture()) return;
    event.preventDefault();
    to(scale * Math.exp(-event.deltaY / 400), ...fromMiddle(event));
  }, { passive: false });

  stage.addEventListener("dblclick", (event) => {
    if (isPicture()) to(scale > 1 ? 1 : 2.5, ...fromMiddle(event));
  });

  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest("video, audio, a, button, .viewer-text")) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.setPointerCapture(event.pointerId);
    start = { x: event.clientX, y: event.clientY, left, top, scale, spread: pointers.size === 2 ? spread() : 0, wasPinch: pointers.size > 1 };
  });

  stage.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId) || !start) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2 && start.spread && isPicture()) {
      to((start.scale * spread()) / start.spread, ...fromMiddle(event));
    } else if (scale > 1) {
      left = start.left + event.clientX - start.x;
      top = start.top + event.clientY - start.y;
      apply();
    }
  });

  function end(event) {
    if (!pointers.delete(event.pointerId) || !start) return;
    const across = event.clientX - start.x;
    const along = event.clientY - start.y;
    const isSwipe = event.type === "pointerup" && scale === 1 && !start.wasPinch && event.pointerType !== "mouse";
    if (isSwipe && Math.abs(across) > SWIPE_PX && Math.abs(across) > 2 * Math.abs(along)) onSwipe(across < 0 ? 1 : -1);
    if (!pointers.size) start = null;
  }
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);

  document.getElementById("zoom-in").addEventListener("click", () => to(scale * STEP));
  document.getElementById("zoom-out").addEventListener("click", () => to(scale / STEP));
  document.getElementById("zoom-fit").addEventListener("click", () => to(1));

  floradl.zoom = {
    /** Begin with another picture; null where there is none to look closer at. */
    begin(image) {
      picture = image;
      scale = 1;
      left = top = 0;
      start = null;
      pointers.clear();
      document.getElementById("zoom-tools").hidden = !image;
      stage.classList.toggle("has-picture", image !== null);
      apply();
    },

    /** What a key does; whether it does anything. */
    key(name) {
      const goals = { "+": scale * STEP, "=": scale * STEP, "-": scale / STEP, 0: 1 };
      if (!isPicture() || !Object.hasOwn(goals, name)) return false;
      to(goals[name]);
      return true;
    },

    whenSwiped(work) {
      onSwipe = work;
    },
  };
}
