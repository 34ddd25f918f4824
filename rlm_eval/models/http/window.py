"""Detect errors that mean a prompt too long for the model's window.

There is no standard code for it, so this reads the words: a noun for the prompt or the window near
a phrase for "too much", or a number that exceeds another. Rate limits, quotas, output caps, limits
of other parameters and faults of the surroundings (connections, queues, stores) use the same
phrases about other things: those are ruled out first.
`tests/models/wordings.json` holds the wordings that this covers, with their sources.
"""

from __future__ import annotations

import re
from itertools import pairwise

_FINAL = (None, 400, 413, 422, 424, 500, 502)
"""Statuses under which servers report a window error; `None` = an error without one, in a 200."""
_OTHER_FAULTS = (401, 402, 403, 404)
_NEAR = 120
"""Most characters between the noun and the phrase."""


def _any(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts))


_NOISE = _any(
    r"\(?\brequest id\b[^)\s]*[:=]?\s*[\w-]*\)?",
    r"\b(invalid|malformed|bad) (input|request|param\w*|argument|prompt)( request| error)*",
    r"\binput validation( error)?",
    r"\bvalidation error|\binvalid request error",
)
_RATE = _any(
    r"(\b(per|a|each|this) |/ ?)(min(ute)?|hour|day|week|month|second|sec)\b|\b[trp]p[mdh]\b",
    r"\brate ?limit|\brate exceed|too many requests|throttl|quota|concurren|\bqueue",
    r"\b(daily|hourly|weekly|monthly)\b|usage limit|please wait|retry after",
    r"(try|retry)( again)? (in|later|after|at)\b|subscription|your (current )?(plan|tier|organi)",
    r"billing|credits?\b|balance|(?<!token )budget (has|is|exceed)|\bpaid\b|upgrade",
    r"速率|频率|额度|配额|余额|并发|限流",
)
_CAP = _any(
    r"\bmax (completion |new |output |generated |gen )?tokens( to sample)?\b|\bmax output\b",
    r"\bmaximum (output |completion )?tokens (you|value|request|to (sample|gen))",
    r"\b(output|completion)s?\b|\b(generat\w+|response|reply|answer) (tokens?|length|limit|size)\b",
    r"\bbudget tokens|\bn predict|\bthinking\b",
)
_INPUT = (
    r"\binputs?\b(?! (should|must be an?|value|type|error|schema|format|field|json)\b)"
    r"|\bprompts?\b(?! (cache|logprobs|id\b|template|name))"
)
_SENT = _any(
    _INPUT,
    r"\b(in|of) (the|your) (messages|prompt|input|functions|text)|\bmessages? (result|contain)",
    r"\b(total|requested)( about)?( a total of)?( \d+)? tokens|\bin total\b|\bconversation\b",
    r"\b(combined|sum of)\b|\d \+ \d|\breduce the length of the messages",
    r"\brequest (has|contains|of) \d|\bmax tokens of \d+ exceeded",
)
"""The prompt and the output cap together: their sum does not fit."""
_NO_ROOM = _any(r"\bmax [a-z ]*tokens\b.{0,80}?(?<![\d\w])-(\d{1,9})\b")
"""A cap that the server computed as the rest of the window: below zero."""

_CONTEXT = _any(
    r"\b(context|model|sequence|seq|attention|session)( max(imum)?)?"
    r"( (window|length|size|limit|len|budget|capacity))+\b|\bmax tokens of \d+ exceeded",
    r"\bmax(imum)? (model|seq\w*|context|position|input|prompt|message|num)"
    r"( tokens?| len\w*| size| window| embeddings| prompt)*\b",
    r"\bn ctx\b|\bnum ctx\b|\bcontext\b|上下文",
)
_PROMPT = _any(
    _INPUT,
    r"\bmessages\b(?!\[\d+\] ?\.? ?(name|role|tool))|\bmessage (is |was )?(too|length|exceed)",
    r"\b(your|the|this) message\b|\bconversation|\bhistory\b|\bcontext\b|\bsequence\b|\btext\b",
    r"\bcontents?\b(?! (type|filter|policy|management))|\bquery\b|\bdocuments?\b|\bpayload",
    r"\b(total|number of|requested|too many|how many)( \w+)? tokens?|\btokens? (count|limit|len)",
    r"\btokens exceed|\bseq len|\bvalue at body\b",
    r"\brequest:?( it)?( \(?\d+ tokens\)?)?( size| length| payload)? (is |was |s )?"
    r"(exceed|too |larger|longer|contains|has \d)",
    r"输入|提示|请求|内容|文本|tokens?[数量总]",
)
_WEAK = _any(r"\b(contents?|documents?|query|payload|text|history)\b")
"""Nouns that also name replies, rows and files: under a status of a server's fault not enough."""
_OVER = _any(
    r"exceed|overflow|surpass|outgrow|\bover (the|its|your|limit)|\boversized?\b|\bbeyond\b",
    r"\babove\b|too (long|large|big|many|much|lengthy)|\bfull\b|exhaust|truncat|\breduce|shorten",
    r"(long|great|larg|bigg|high|small|short|few)er than|\b(more|less) than\b|shorter|\btrim\b",
    r"no (more|longer|larger|greater) than|at most|\bup to\b|\bupper limit|range of|out of range",
    r"(only|can) (supports?|accepts?|handles?|takes?|holds?)|(n t|not|cannot|never) (fit|exceed)",
    r"max(imum)?( allowed| supported| permitted| number of| input| prompt| context| sequence"
    r"| model| total| num| is| of)*( len\w*|length|size|tokens?|characters|limit| \d)",
    r"\b(token|length|size|context|input|prompt|character|window|conversation)s? limit",
    r"limit (of|is|was|reach)|[<>≤≥]=?|not enough (room|space|context)|no (room|space) (left )?",
    r"insufficient context|(run|ran|is|are) out of|unable to fit|longer\b|capacity",
    r"(must|should|has to) be (in|within|between)\b|\bshift is disabled",
    r"超长|超限|过大|超过|超出|过长|过多|太长|大于|上限|最大|长度限制",
)
_LENGTH = _any(
    r"token|length|\blen\b|long|large|\bbig|size|char|context|window|words|bytes|room|space|shorte",
    r"\blimits?\b|capacity|\d+k\b|长|大|上下文|字",
)
_FOREIGN = _any(
    r"\b(images?|audio|videos?|files?|attachments?|pdfs?|pages|upload\w*|disk|open files)\b",
    r"\b(stop|top [kpn]|logprobs?|logit|temperature|\w*penalt\w*|seed|effort|best of|n must)\b",
    r"\b(metadata|tools?|functions?|schemas?|response format|choices|candidates|dimensions?)\b",
    r"\b(headers?|ur[li]s?|safety identifier|prompt cache|keys?|password|labels?|adapter|lora)\b",
    r"\b(vocab\w*|beams?|nest\w*|depth|grammar|regex|pattern|json|tensors?|recursion|stack)\b",
    r"\b(memory|allocat\w*|oom|time ?d? ?out|timeout|deadline|seconds?)\b",
    r"\b(initiali\w+|fail\w* to (re)?(load|start))\b",
    r"\b(sensitive|flagged|moderation|unsafe|safety|blocked|policy)\b",
    r"(?<!physical )\bbatch (of \d|size\b(?!: \d))|\bnum ctx (is|must|should|exceed)",
    r"\buser\b(?! (message|prompt|input|content|query|turn|request))",
    r"\bnames? (is|must|too|exceed|length|should|:)|\bid (is|must|too)",
    r"(unsupported|unknown|unrecognized|unexpected) (param\w*|argument|field|key\w*|value)",
)
"""Other things that have limits, and other faults."""
_AROUND = _any(
    r"\bcontext (deadline|cancel)|deadline exceeded|\b(declared|than|satisfy) content length\b",
    r"\bcontent length (header|mismatch|\d+ [<>]=? ?received)|\b1009 \(message too big",
    r"\bresponse (payload|body|headers?|content|was truncated)\b|\bgot \d+ of \d+ bytes",
    r"\bmessage length too large|\bgrpc\b|\bhttp ?2:|\bstream error\b|\bsocket\b|\beof\b",
    r"\bover ?load|\b(server|model|service|system)( is)?( too)? busy\b|\bin[ -]flight\b",
    r"\b(waiting|pending|queued) (tokens|requests)",
    r"\b(tokens|requests) (are |is )?(being |now )?(process|wait|runn)",
    r"\bno (available|free) (capacity|slots?|workers?|blocks?)|\bplease retry\b(?! with)",
    r"\b(cuda|device|ssl|tls|security|tenant|gateway|execution|thread|trace) context\b",
    r"\binsufficient capacity|\btime limit\b|\bof the response\b|\bkafka\b|\bcertificate",
    r"\b(retry|retries) (limit|exceed)|\bmax(imum)?( number of)? retries",
    r"\bconnection (to|was|is|re\w+|lost|closed|aborted|timed|pool)|\beconn|prematurely",
    r"\bunexpected content|\bupstream (response|connect|content|server|closed)",
    r"\berrno\b|space left on device|\b(for|in) column\b|\bsqlstate|\bcharacter varying",
    r"\b(index|key|type|attribute|memory|recursion|os|io) ?error\b|\blist index",
    r"\b(engine|worker|process|runner|model|server)( loop)?( has| was)? (died|crash|killed|lost)",
)
"""Faults of connections, queues, stores and programs around the model: about no prompt."""
_UNREAD = _any(
    r"\bline \d+ column \d|\(char \d|\bunterminated string|\bexpecting value|\bbad gateway"
)
"""Bodies that were no JSON: what a gateway got, or what it was sent."""
_STATED = _any(
    r"\bmax(imum)? (context|model|seq\w*|input|prompt|total)( tokens?| len\w*| window| size)* "
    r"(is|of|was|limit)\b.{0,20}?\d",
    r"\b(prompt|input|context)( \([^)]*\))? (is |are |was )?(too (long|large|big)|longer than the)",
    r"\bcontext (window|length|size|limit)( of \d+)?( tokens)?( is| was| has been)* exceeded",
    r"\b(prompt|input|sequence)( tokens?| count| length| size)*( \(?\d+( tokens)?\)?)? "
    r"(exceed|(long|larg|great)er than)",
    r"\bexceed\w*( the| this| its)?( model)?( available| max\w*)? context "
    r"(window|length|size|limit)",
)
"""Sentences of the engines themselves, which gateways quote among faults of their own."""
_WINDOW = _any(r"\bcontext (window|length|len|size|limit)\b|\bcontext\b.{0,12}too (long|large|big)")
"""What an error under another status has to name."""
_NO_SIZE = _any(
    r"\b(http|status|code|error|errno|node|port|line|column|char|pid|returned)[ :=]*\d+",
    r"\b\d+(\.\d+)? ?(ms|s|secs?|seconds?|min|minutes?)\b|(?<=\d):\d+\b",
)
"""Numbers that measure no text: statuses, durations, ports."""
_EMPTY = _any(
    r"\bempty\b|too (short|small)|at least (one|[01]\b)|(greater than( or equal to)?|>=?) ?[01]\b",
    r"minimum|\bmin (length|tokens)|below",
)
_LIMITED = _any(
    r"limit|\bmax|\bonly\b|support|allow|capacity|window|\bfits?\b|\bmost\b|hold|context|\broom\b",
    r"takes?\b",
)
_SIZED = _any(r"token|length|context|\bwindow|\bchar|上下文|长度")
_NUMBER = _any(r"(?<![\w.-])(\d{1,9})(k?)(?![\w-]|\.\d)")
_COUNTED = _any(
    r"\b(prompt|input) (tokens?|len\w*) \(?\d+( tokens?)?\)?( is| are)?"
    r" (exceed|(long|great|larg)er than|over\b|too )",
)
"""A count of the prompt that is too large: no other cause matters."""
_CODE = _any(
    r"(context|prompt|inputs?|messages?|sequence)\b.*\b(too (long|large|big)|exceed|overflow)",
    r"exceed\w* context|context (window|length|size)|context full",
    r"^request too large$|^tokens? limit (reached|exceeded)$|^tokens limit reached$",
)
_OWN_CODES = {"1261"}
"""GLM's code of a prompt that is too long; its message may be in any language."""


def says_too_long(status: int | None, words: str, codes: list[str], param: str) -> bool:
    """Return true if an error of this status, message, codes and parameter means a prompt too long.

    `status` is `None` where unknown. Words are read in the languages that servers send (English,
    Chinese).
    """
    told = [plain(code) for code in codes]
    text = _NOISE.sub(" ", plain(f"{param}: {words}" if param else words))
    is_around = about_surroundings(text) or bool(_UNREAD.search(text) and not _STATED.search(text))
    if status in _OTHER_FAULTS or is_rate(text) or any(map(is_rate, told)):
        return False
    if any(
        _CODE.search(code) and not _CAP.search(code) and not _AROUND.search(code) for code in told
    ):
        return True
    if _OWN_CODES & set(told):
        return True
    if (room := _NO_ROOM.search(text)) and int(room[1]) > 1:
        return True
    if _CAP.search(text) and not _SENT.search(text):
        return False
    if is_around or (status not in _FINAL and not _WINDOW.search(text)):
        return False
    if _COUNTED.search(text):
        return True
    if _near(_CONTEXT, text) and not _EMPTY.search(text) and _SIZED.search(text):
        return not _FOREIGN.search(text) or bool(_SENT.search(text)) or _exceeding(text)
    if status not in _FINAL or _FOREIGN.search(text) or _EMPTY.search(text):
        return False
    if status == 413:
        return True
    if status is not None and status >= 500:
        text = _WEAK.sub(" ", text)
    if _near(_PROMPT, text) and (_LENGTH.search(text) or _PROMPT.search(plain(param))):
        return True
    return bool(_SIZED.search(text) and _LIMITED.search(text)) and _exceeding(text)


def about_surroundings(text: str) -> bool:
    """Return true if plain words describe a fault around the model, and quote no window error."""
    return bool(_AROUND.search(text)) and not _STATED.search(text)


def is_rate(text: str) -> bool:
    """Return true if plain words describe a limit over time or of money, not of one request."""
    return bool(_RATE.search(text))


def plain(text: str) -> str:
    """Return lower-case text, identifiers split into words, quotes and digit separators removed."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # ContextWindowExceededError
    text = re.sub(r"(?<=\d)[,_](?=\d{3}(?!\d))", "", text)
    text = re.sub(r"['’]s\b", "", text)
    text = re.sub(r"[`'\"“”‘’*_\\{}|]+|(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    return " ".join(text.lower().split())


def _near(noun: re.Pattern[str], text: str) -> bool:
    """Return true if the noun is near a phrase for "too much", or is a part of it."""
    overs = [match.span() for match in _OVER.finditer(text)]
    return any(
        start - _NEAR <= found.end() and found.start() <= end + _NEAR
        for found in noun.finditer(text)
        for start, end in overs
    )


def _exceeding(text: str) -> bool:
    """Return true if a number is next to one that it exceeds, as a size and its limit."""
    found = _NUMBER.findall(_NO_SIZE.sub(" ", text))
    numbers = [int(n) * (1000 if k else 1) for n, k in found]
    return any(min(pair) >= 128 and pair[0] != pair[1] for pair in pairwise(numbers))
