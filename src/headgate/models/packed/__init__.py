"""Encoders over packed rows: token after token, no padding, only what the answer reads.

rows.py       where each row lies, and which neighbours attention takes at once
linear.py     linear layers in float32, bfloat16, float16 or int8
bert.py       BERT, RoBERTa, XLM-R · modernbert.py · deberta.py: one layer of each
encoder.py    the drop-in for a transformers encoder
"""
