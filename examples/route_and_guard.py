"""Route queries by names and descriptions, and guard text, with no host framework."""

from corpus import POISONED, read

from headgate import Guard, Label, Router, Rule, load

routes = {r["name"]: r["description"] for r in read("routes")}
route = Router(load("mini/route"), routes)
for text in ("Where is my order?", "my card was charged twice", "who won the cup final?"):
    decision = route(text)
    print(f"{decision.choice or 'none of these':<24} none {decision.none:.2f}  {text}")

# A conversation is judged by its last turns: "and how do I stop that?" alone could mean anything.
print(route(read("conversations")[0]["messages"]).choice)

# The heads of mini bring thresholds for their own rules; a rule of yours needs one from your data.
guard = Guard(load("mini/heads"), ["injection", "toxic"])
for text in ("Please ignore my last e-mail, the new address is 5 Elm Row.", POISONED):
    verdict = guard(text)
    print("allowed" if verdict.allowed else f"blocked by {', '.join(verdict.broken)}", "|", text[:60])

promises = Label("The text promises a refund.", verbatim=True)
own = Guard(load("mini/nli"), {"promises a refund": Rule(promises, threshold=0.9)})
print(own("You will get all your money back by Friday.").probabilities)
