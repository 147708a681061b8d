// One output in the grid: a picture, a film that plays where it stands, a sound, a text, a document.
"use strict";

{
  const { element, icon, store, text, route } = floradl;
  const NARROWEST = 0.56;
  const WIDEST = 2.4;
  const SHAPES = { sound: 1.5, text: 1.1, other: 0.85, failed: 1.1 };
  const BARS = 36;

  /** Width by height of a tile, known before anything of it is loaded. */
  function shape(item) {
    if (SHAPES[item.form]) return SHAPES[item.form];
    if (!item.width || !item.height) return item.form === "film" ? 16 / 9 : 1;
    return Math.min(WIDEST, Math.max(NARROWEST, item.width / item.height));
  }

  /** What a screen reader says of an output. */
  function spoken(item) {
    const parts = [item.run.isUploaded ? `Uploaded ${item.kind}` : text.kind(item.kind)];
    if (item.form === "failed") parts.push(`could not be archived: ${text.line(item.error)}`);
    if (item.text) parts.push(text.line(item.text.slice(0, 120)));
    if (item.run.isVanished) parts.push("no longer at FLORA");
    if (item.label) parts.push(text.line(item.label.slice(0, 120)));
    if (item.run.model || item.run.technique || item.run.isUploaded) parts.push(text.title(item.run));
    if (item.run.created !== null) parts.push(text.moment(item.run.created));
    return parts.join(", ");
  }

  function picture(url, fallback, onFail) {
    const image = element("img", { alt: "", decoding: "async", loading: "lazy", draggable: false });
    image.addEventListener("error", () => {
      if (fallback && image.getAttribute("src") !== fallback) image.src = fallback;
      else onFail();
    });
    image.src = url;
    return image;
  }

  const extension = (item) => text.line(item.file.slice(item.file.lastIndexOf(".") + 1).toUpperCase() || item.kind);

  function missing(tile) {
    tile.classList.add("is-missing");
    tile.replaceChildren(icon("warning"), element("span", { textContent: "File not found" }));
  }

  const makers = {
    picture(item, link) {
      const file = store.fileUrl(item);
      const thumbnail = store.thumbnailUrl(item);
      link.append(picture(thumbnail || file, file, () => missing(link)));
    },

    film(item, link) {
      const thumbnail = store.thumbnailUrl(item);
      if (thumbnail) {
        link.append(picture(thumbnail, "", () => link.querySelector("img")?.remove()));
        return;
      }
      const still = element("video", { muted: true, preload: "metadata", tabIndex: -1, src: `${store.fileUrl(item)}#t=0.1` });
      still.setAttribute("aria-hidden", "true");
      link.append(still);
    },

    sound(item, link) {
      link.append(wave(item), element("span", { className: "tile-kind", textContent: extension(item) }));
    },

    text(item, link) {
      const excerpt = element("span", { className: "tile-text", dir: "auto" });
      excerpt.textContent = text.lines(item.text) || "(empty)";
      link.append(excerpt);
    },

    other(item, link) {
      const thumbnail = store.thumbnailUrl(item);
      if (thumbnail) {
        link.append(picture(thumbnail, "", () => missing(link)));
        return;
      }
      link.append(
        icon("file"),
        element("strong", { textContent: extension(item) }),
        element("span", { textContent: text.bytes(item.bytes) }),
        ...(item.run.name ? [element("bdi", { className: "tile-name", textContent: text.line(item.run.name) })] : []),
      );
    },

    failed(item, link) {
      link.append(
        icon("warning"),
        element("strong", { textContent: `${text.kind(item.kind)} not archived` }),
        element("span", { textContent: text.line(item.error) }),
      );
    },
  };

  /** Bars for a sound: an ornament that is the same for the same output, not its loudness. */
  function wave(item) {
    let state = 7;
    for (const character of item.run.id + item.key) state = (state * 31 + character.codePointAt(0)) >>> 0;
    const drawing = floradl.drawing("svg", {
      class: "wave", viewBox: `0 0 ${BARS * 3} 40`, preserveAspectRatio: "none", "aria-hidden": "true",
    });
    for (let bar = 0; bar < BARS; bar += 1) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const swell = Math.sin((Math.PI * (bar + 0.5)) / BARS) ** 0.7;
      const height = 3 + 33 * swell * (0.25 + 0.75 * (state / 2 ** 32));
      drawing.append(
        floradl.drawing("rect", { x: bar * 3 + 0.6, y: (40 - height) / 2, width: 1.8, height, rx: 0.9 }),
      );
    }
    return drawing;
  }

  function playButton(item, tile) {
    const button = element("button", { className: "tile-play", type: "button" }, icon("play"));
    button.setAttribute("aria-label", "Play the video here");
    button.addEventListener("click", () => {
      const film = element("video", { controls: true, autoplay: true, loop: true, className: "tile-film" });
      film.src = store.fileUrl(item);
      film.setAttribute("aria-label", spoken(item));
      button.replaceWith(film);
      film.focus();
    });
    tile.append(button);
  }

  /** The tile of an output, without its place. */
  function make(item) {
    const link = element("a", {
      className: `tile-link ${item.form}`,
      href: route.with({ run: item.run.id, output: item.key }),
      tabIndex: -1,
    });
    link.setAttribute("aria-label", spoken(item));
    makers[item.form](item, link);
    const tile = element("li", { className: "tile" }, link);
    if (item.form === "film") playButton(item, tile);
    if (item.form === "sound") {
      const player = element("audio", { controls: true, preload: "none", src: store.fileUrl(item) });
      player.setAttribute("aria-label", spoken(item));
      tile.append(player);
    }
    if (item.form === "picture" || item.form === "film") {
      const caption = element("span", { className: "tile-caption" });
      caption.append(element("bdi", { textContent: text.title(item.run) }));
      link.append(caption);
    }
    if (item.run.isVanished) link.append(element("span", { className: "tile-badge", textContent: "Not at FLORA any more" }));
    return tile;
  }

  floradl.tiles = { shape, make, spoken, picture, extension, wave };
}
