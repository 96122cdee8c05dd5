"""Each family turns texts and labels into token rows, and a model's numbers into log-odds."""
