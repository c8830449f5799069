// Voices of room members themselves, from browser to browser by WebRTC; the scheduler only passes the signalling on.
//
// Between two members the one with the smaller session id offers, so that both never offer at once: a link is made anew
// from scratch whenever the offerer finds a reason to (`sync`), and an offer always replaces what its receiver had.
// A voice is heard only where its listener asked for it; the scheduler refuses signalling to whoever did not.

const CONFIG = { iceServers: [] }; // host candidates: the same network. Others need a TURN server of the operator's.

export class Voices {
  #me = "";
  #track = null;
  #heard = new Set();
  #links = new Map(); // session id → {peer, audio}
  #send;
  #chain = Promise.resolve();

  // `send(message)` passes `webrtc_*` messages on.
  constructor(send) {
    this.#send = send;
  }

  // `linked`: ids of members whose voice is wanted here, or who want ours; `heard`: those of the former kind.
  sync(me, { linked, heard, track }) {
    const isTrackNew = track !== this.#track;
    this.#me = me;
    this.#track = track;
    this.#heard = heard;
    for (const id of this.#links.keys()) if (!linked.includes(id)) this.#drop(id);
    for (const [id, { audio }] of this.#links) {
      audio.muted = !heard.has(id);
      if (isTrackNew) this.#replaceTrack(id);
    }
    for (const id of linked) if (!this.#links.has(id) && me < id) this.#offer(id);
  }

  // A `webrtc_*` message; its `to` names the sender. One is done with before the next: candidates follow their offer.
  onMessage(message) {
    this.#chain = this.#chain
      .then(() => this.#take(message))
      .catch((error) => {
        console.warn("a voice link failed", error); // speech is translated all the same
      });
  }

  async #take({ type, to: from, sdp, candidate }) {
    if (type === "webrtc_offer") await this.#answer(from, sdp);
    const peer = this.#links.get(from)?.peer;
    if (type === "webrtc_answer") await peer?.setRemoteDescription(sdp);
    if (type === "webrtc_ice") await peer?.addIceCandidate(candidate);
  }

  close() {
    for (const id of [...this.#links.keys()]) this.#drop(id);
  }

  async #offer(id) {
    const { peer } = this.#link(id);
    await peer.setLocalDescription();
    this.#send({ type: "webrtc_offer", to: id, sdp: peer.localDescription.toJSON() });
  }

  async #answer(id, sdp) {
    this.#drop(id);
    const { peer } = this.#link(id);
    await peer.setRemoteDescription(sdp);
    this.#replaceTrack(id);
    await peer.setLocalDescription();
    this.#send({ type: "webrtc_answer", to: id, sdp: peer.localDescription.toJSON() });
  }

  #link(id) {
    const peer = new RTCPeerConnection(CONFIG);
    const link = { peer, audio: new Audio() };
    link.audio.muted = !this.#heard.has(id);
    this.#links.set(id, link);
    if (this.#me < id) peer.addTransceiver(this.#track ?? "audio", { direction: "sendrecv" });
    peer.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send({ type: "webrtc_ice", to: id, candidate: candidate.toJSON() });
    };
    peer.ontrack = ({ track }) => {
      link.audio.srcObject = new MediaStream([track]);
      link.audio.play().catch(() => {}); // until the person touches the page
    };
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === "failed" && this.#links.get(id) === link) this.#drop(id);
    };
    return link;
  }

  #replaceTrack(id) {
    for (const transceiver of this.#links.get(id).peer.getTransceivers()) {
      transceiver.direction = "sendrecv";
      transceiver.sender.replaceTrack(this.#track);
    }
  }

  #drop(id) {
    const link = this.#links.get(id);
    this.#links.delete(id);
    link?.peer.close();
    if (link) link.audio.srcObject = null;
  }
}
