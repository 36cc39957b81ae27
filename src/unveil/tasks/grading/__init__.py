"""How answers in text are judged: strictly, or by the rules of published work so that numbers can be compared.

Answers are untrusted text: every judge takes bounded time on any of them, and none evaluates it as code.
"""
