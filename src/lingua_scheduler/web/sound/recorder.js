// The microphone as frames of 20 ms, 16 kHz, PCM16 (Int16Array).

const WORKLET = "/static/sound/recorder-worklet.js";

export class MicrophoneTrouble extends Error {
  // `key` names the sentence for people.
  constructor(key) {
    super(key);
    this.key = key;
  }
}

export class Recorder {
  #context = null;
  #stream = null;

  // The track that rooms may send to members who want the voice itself.
  get track() {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  // Ask for the microphone. `processing` is the browser's own: echo cancellation (the spoken translation must not be
  // heard as speech), noise suppression, gain control. Throws MicrophoneTrouble.
  async open({ processing = true, deviceId = "" }) {
    if (!navigator.mediaDevices?.getUserMedia) throw new MicrophoneTrouble("trouble.insecure");
    this.#stream = await openMicrophone(processing, deviceId);
  }

  // `onFrame` hears every frame until `stop`; `onEnded` hears that the device went away.
  async listen({ onFrame, onEnded }) {
    this.track.addEventListener("ended", onEnded);
    const { context, source } = openContext(this.#stream);
    this.#context = context;
    await context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onFrame(data);
    source.connect(node);
    await context.resume();
  }

  // Silence the microphone, and let it hear again at once.
  set isMuted(value) {
    if (this.track) this.track.enabled = !value;
  }

  async stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    const context = this.#context;
    this.#stream = null;
    this.#context = null;
    if (context && context.state !== "closed") await context.close();
  }
}

// Microphones by name: `[{id, label}]`; empty before a person has allowed one.
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices
    .filter(({ kind, deviceId, label }) => kind === "audioinput" && deviceId && label)
    .map(({ deviceId, label }) => ({ id: deviceId, label }));
}

function openContext(stream) {
  const wanted = new AudioContext({ sampleRate: 16_000 });
  try {
    return { context: wanted, source: wanted.createMediaStreamSource(stream) };
  } catch {
    // Some browsers connect no microphone to a context of another rate; the worklet resamples there.
    wanted.close();
    const context = new AudioContext();
    return { context, source: context.createMediaStreamSource(stream) };
  }
}

async function openMicrophone(processing, deviceId) {
  const audio = {
    channelCount: 1,
    echoCancellation: processing,
    noiseSuppression: processing,
    autoGainControl: processing,
    ...(deviceId ? { deviceId: { ideal: deviceId } } : {}),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new MicrophoneTrouble(MICROPHONE_TROUBLE[error.name] ?? "trouble.microphone");
  }
}

const MICROPHONE_TROUBLE = {
  NotAllowedError: "trouble.notAllowed",
  NotFoundError: "trouble.notFound",
  NotReadableError: "trouble.notReadable",
};
