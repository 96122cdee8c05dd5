"""Route queries by names and descriptions, and guard text, with no host framework."""

from corpus import POISONED, read

from headgate import Guard, Label, Router, Rule, load

routes = {r["name"]: r["description"] for r in read("routes")}
route = Router(load("mini/route"), routes, threshold=0.25)
for text in ("My parcel has not arrived, where is it?", "how do I cancel my subscription?", "who won the cup?"):
    decision = route(text)
    print(f"{decision.choice or 'none of these':<24} none {decision.none:.2f}  {text}")

# A conversation is judged by its last turns: its last message alone could mean anything.
messages = read("conversations")[2]["messages"]
print(
    f"{messages[-1]['content']!r} alone: {route(messages[-1]['content']).choice}, in its turn: {route(messages).choice}"
)

# The heads of mini bring thresholds for their own rules; a rule of yours needs one from your data.
guard = Guard(load("mini/heads"), ["injection", "toxic"])
for text in ("Please ignore my last e-mail, the new address is 5 Elm Row.", POISONED):
    verdict = guard(text)
    print("allowed" if verdict.allowed else f"blocked by {', '.join(verdict.broken)}", "|", text[:60])

promises = Label("The text promises a refund.", verbatim=True)
own = Guard(load("mini/nli"), {"promises a refund": Rule(promises, threshold=0.3)})
print(own("We will refund you in full."))
