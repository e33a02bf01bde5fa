"""The page: a Streamlit app behind a guard. It reads run folders and starts trainers; it never
imports torch.
"""
