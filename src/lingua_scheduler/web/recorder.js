// The microphone as frames of 20 ms, 16 kHz, PCM16 (Int16Array). Errors carry a sentence for people.

const WORKLET = "/static/recorder-worklet.js";

export class Recorder {
  #context = null;
  #stream = null;

  // Ask for the microphone. `processing` is the browser's own: echo cancellation (the spoken translation must not be
  // heard as speech), noise suppression, gain control.
  async open({ processing = true }) {
    if (!navigator.mediaDevices) {
      throw new Error("The browser gives the microphone to secure pages only: open this page by https, or on localhost.");
    }
    this.#stream = await openMicrophone(processing);
  }

  // `onFrame` hears every frame until `stop`; `onEnded` hears that the device went away.
  async listen({ onFrame, onEnded }) {
    this.#stream.getAudioTracks()[0].addEventListener("ended", onEnded);
    const { context, source } = openContext(this.#stream);
    this.#context = context;
    await context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onFrame(data);
    source.connect(node);
    await context.resume();
  }

  async stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    await this.#context?.close();
    this.#stream = null;
    this.#context = null;
  }
}

function openContext(stream) {
  const wanted = new AudioContext({ sampleRate: 16000 });
  try {
    return { context: wanted, source: wanted.createMediaStreamSource(stream) };
  } catch {
    // Some browsers connect no microphone to a context of another rate; the worklet resamples there.
    wanted.close();
    const context = new AudioContext();
    return { context, source: context.createMediaStreamSource(stream) };
  }
}

async function openMicrophone(processing) {
  const audio = {
    channelCount: 1,
    echoCancellation: processing,
    noiseSuppression: processing,
    autoGainControl: processing,
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(MICROPHONE_TROUBLE[error.name] ?? `The microphone cannot be used (${error.name}).`);
  }
}

const MICROPHONE_TROUBLE = {
  NotAllowedError: "The microphone is not allowed. Allow it for this page in the browser's address bar, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone is used by another program. Close that, then try again.",
};
