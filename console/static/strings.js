// The words scripts need come with the page, in its language.

const texts = JSON.parse(document.body.dataset.strings);

export function say(key, values = {}) {
  const text = texts[`js.${key}`] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export function toast(text, bad = false) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.classList.toggle("bad", bad);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { box.textContent = ""; }, bad ? 12000 : 5000);
}

export function age(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return say(`age.${unit}`, { n: Math.floor(seconds / size) });
  }
  return say("age.s", { n: Math.floor(seconds) });
}
