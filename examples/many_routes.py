"""Pick tools among many: a shortlist by embedding, then the exact scorer; or rerank the tools for a request."""

from headgate import Reranker, Router, Shortlist, load

things = ["invoice", "parcel", "meeting", "contract", "ticket", "password", "newsletter", "server", "photo", "backup"]
actions = {
    "create": "create a new {}",
    "delete": "delete the {}",
    "share": "share the {} with a colleague",
    "print": "print the {} on paper",
    "translate": "translate the {} into another language",
    "archive": "archive the old {}",
    "rename": "rename the {}",
    "schedule": "schedule the {} for a later day",
}
tools = {f"{name}_{thing}": words.format(thing) for thing in things for name, words in actions.items()}

# All tools are embedded once; the scorer reads the descriptions of the nearest alone.
exact = load("mini/route")
shortlist = Shortlist(exact, load("mini/embed"), tools, size=8)

# On requests of your own, each with the tool that was meant, it finds how many tools must be looked at.
meant = {
    "create": ["I need another {}", "make me a {}"],
    "delete": ["get rid of that {}", "remove my {} please"],
    "share": ["let Ana see the {}", "send the {} to my team"],
    "print": ["I want the {} in my hand", "a paper copy of the {}"],
    "translate": ["I need the {} in Spanish", "can I have this {} in English?"],
    "archive": ["put the {} away, it's done", "keep the {} for later, out of sight"],
    "rename": ["the {} should be called Bob", "give the {} a better title"],
    "schedule": ["do the {} next Friday", "not today, the {} can wait until June"],
}
requests = [(words.format(thing), f"{name}_{thing}") for name in actions for words in meant[name] for thing in things]
texts, truths = [text for text, _ in requests], [tool for _, tool in requests]
fitted = shortlist.fit(texts, truths, miss=0.05, confidence=0.9)
print(f"{fitted.size} of {len(tools)} tools: {fitted.promise}")

pick = Router(fitted, list(tools), threshold=0.2)
for text in ("Can you print that contract for me?", "please put the meeting off until Monday", "who won the cup?"):
    print(f"{pick(text).choice or 'no tool':<16} {text}")

several = Router(fitted, list(tools), threshold=0.99, multi=True)
print(sorted(several("translate the contract and print it").choices))

# Where the order is all that is asked for, the tools are documents.
names, words = list(tools), list(tools.values())
print([names[hit.index] for hit in Reranker(load("mini/rank"), top_k=3)("translate my contract to Spanish", words)])
