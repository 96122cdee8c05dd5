"""Encoders over packed rows: token after token, no padding, only what the answer reads.

rows.py       where each row lies, and which neighbours attention takes at once
linear.py     linear layers in float32, bfloat16, float16 or int8
attention.py  by the kernel that suits device and dtype
bert.py       BERT, RoBERTa, XLM-R, CamemBERT · modernbert.py · deberta.py: one layer of each
flexible.py   DeBERTa's attention in one kernel, on a GPU
encoder.py    the drop-in for a transformers encoder
isolated.py   labels that no other label sees, each read once in a batch
"""
