// One soft chime, the same after every result: whoever hears it learns that the record is kept, no more.

const NOTES = [[659.25, 0], [880, 0.14]];
let context = null;

export function on() {
  return localStorage.getItem("sound") !== "off";
}

export function toggle() {
  localStorage.setItem("sound", on() ? "off" : "on");
  if (on()) chime();
  return on();
}

export function chime() {
  if (!on()) return;
  document.body.dataset.chimes = String(Number(document.body.dataset.chimes || 0) + 1);
  try {
    context ??= new AudioContext();
    context.resume();
    for (const [pitch, at] of NOTES) {
      const voice = new OscillatorNode(context, { type: "sine", frequency: pitch });
      const loudness = new GainNode(context, { gain: 0 });
      const start = context.currentTime + at;
      loudness.gain.linearRampToValueAtTime(0.18, start + 0.02);
      loudness.gain.exponentialRampToValueAtTime(0.0001, start + 0.55);
      voice.connect(loudness).connect(context.destination);
      voice.start(start);
      voice.stop(start + 0.6);
    }
  } catch {
    // No sound device: the screen says the same.
  }
}
