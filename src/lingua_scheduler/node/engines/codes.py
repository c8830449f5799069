"""Other people's language codes: three letters (ISO 639-3), and FLORES-200's `eng_Latn`, to the codes on the wire."""

from collections.abc import Mapping
from typing import Final

from lingua_scheduler.protocol.ids import Language, language

_TWO_LETTERS: Mapping[str, str] = {
    code[:3]: code[4:]
    for line in (
        "afr:af amh:am ara:ar arg:an asm:as ast:ast aze:az bak:ba bel:be ben:bn bod:bo bos:bs bre:br bul:bg cat:ca",
        "ces:cs cym:cy dan:da deu:de ell:el eng:en epo:eo est:et eus:eu fao:fo fas:fa fin:fi fra:fr gle:ga glg:gl",
        "guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ind:id isl:is ita:it jav:jv jpn:ja kan:kn",
        "kat:ka kaz:kk khm:km kin:rw kir:ky kor:ko lao:lo lin:ln lit:lt ltz:lb lav:lv mal:ml mar:mr mkd:mk mlg:mg",
        "mlt:mt mon:mn mri:mi msa:ms mya:my nld:nl nno:nn nob:nb nep:ne nya:ny oci:oc pan:pa pol:pl por:pt pus:ps",
        "ron:ro run:rn rus:ru san:sa sin:si slk:sk slv:sl smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srp:sr",
        "sun:su swa:sw swe:sv tam:ta tat:tt tel:te tgk:tg tgl:tl tha:th tsn:tn tuk:tk tur:tr uig:ug ukr:uk urd:ur",
        "uzb:uz vie:vi xho:xh yid:yi yor:yo yue:yue zho:zh zul:zu hbs:sh",
        # What FLORES names by the member of a macrolanguage that it means.
        "als:sq arb:ar azj:az ekk:et khk:mn lvs:lv npi:ne ory:or pbt:ps pes:fa plt:mg swh:sw uzn:uz ydd:yi zsm:ms",
    )
    for code in line.split()
}
_SCRIPTED: Final = {"zho_Hans": "zh", "zho_Hant": "zh-tw", "srp_Cyrl": "sr", "ory_Orya": "or"}


def from_three_letters(code: str) -> Language | None:
    """`por` → `pt`; a code of two letters passes; None for what has none."""
    return language(_TWO_LETTERS.get(code, code))


def from_flores(token: str) -> Language | None:
    """`por_Latn` → `pt`; None for what is no such token, or a second script of a language that has another first."""
    if token in _SCRIPTED:
        return language(_SCRIPTED[token])
    code, underscore, script = token.partition("_")
    if not (underscore and len(code) == 3 and len(script) == 4 and code.islower() and script.istitle()):
        return None
    return language(_TWO_LETTERS[code]) if code in _TWO_LETTERS else None
