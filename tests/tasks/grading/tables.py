r"""Answers and what is said of them, strictly and by the published rule. Lines: right answer, text, strict, published.

The last column is what EvoToken's released get_acc.py said of the same text, but for what is beyond bounds.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """`gold` is the right number, text of mathematics, or "numbers = target"."""

    gold: str
    text: str
    strict: bool
    compat: bool


def cases(table: str) -> list[Case]:
    """A line per case, columns parted by " | "; in texts, ⏎ is a line break."""
    lines = [line.split(" | ") for line in table.strip().split("\n")]
    return [
        Case(gold.strip(), text.replace("⏎", "\n"), s == "right", c.strip() == "right") for gold, text, s, c in lines
    ]


NUMBERS = cases(
    r"""
18 | \boxed{18} | right | right
18 | \boxed{ 18 } | right | right
18 | steps</reasoning>⏎<answer>⏎\boxed{18}⏎</answer> | right | right
18 | \boxed{18.} | right | right
18 | \boxed{18.00} | right | right
18 | \boxed{+18} | right | right
18 | \boxed{018} | right | right
18 | \boxed{\$18} | right | right
18 | \boxed{$18$} | right | right
18 | \boxed{\(18\)} | right | right
18 | \boxed{18\%} | right | right
18 | \boxed{18^\circ} | right | right
18 | \boxed{18 eggs} | right | right
18 | \boxed{18 \text{ eggs}} | right | right
18 | \boxed{18\,\mathrm{cm}^{2}} | right | right
18 | \boxed{18 km/h} | right | right
18 | \boxed{18 (in all).} | right | right
18 | \boxed{\text{18}} | right | right
18 | \boxed{\textbf{18}} | right | right
18 | \boxed{**18**} | right | right
18 | \boxed{x = 18} | right | right
18 | \boxed{9 \times 2 = 18} | right | wrong
18 | \boxed{9 + 9} | wrong | wrong
18 | \boxed{18 or 20} | wrong | right
18 | \boxed{about 18} | wrong | right
18 | \boxed{minus 18} | wrong | right
18 | \boxed{-18} | wrong | wrong
18 | \boxed{18^2} | wrong | right
18 | \boxed{18:00} | wrong | right
18 | \boxed{1.8e1} | wrong | right
18 | \boxed{1_8} | wrong | right
18 | \boxed{١٨} | wrong | right
18 | \boxed{eighteen} | wrong | wrong
18 | \boxed{nan} | wrong | wrong
18 | \boxed{17} no, \boxed{18} | right | wrong
18 | \boxed{18} no, \boxed{17} | wrong | right
18 | \boxed{...} is \boxed{18} | right | right
18 | \boxed{18} in \boxed{...} | wrong | right
18 | \boxed{} \boxed{18} | right | right
18 | \boxed{18} \boxed{} | wrong | right
18 | \boxed{two} \boxed{18} | right | right
18 | \boxed{18} \boxed{two} | wrong | right
18 | \boxed{\boxed{18}} | right | right
18 | \boxed{18⏎} | right | wrong
18 | \boxed{18 | right | wrong
18 | \boxed{18} or \boxed{19 | wrong | right
18 | \boxed 18 | right | wrong
18 | \fbox{18} | wrong | wrong
18 | 18 | wrong | wrong
18 | The answer is 18. | wrong | wrong
18 | #### 18 | wrong | wrong
18 |  | wrong | wrong
18 | <answer>18</answer> | right | right
18 | <answer>⏎18 eggs⏎</answer> | right | right
18 | <answer>The answer is 18.</answer> | wrong | right
18 | <answer>2 boxes of 18</answer> | wrong | right
18 | <answer>17</answer> <answer>18</answer> | wrong | wrong
18 | <answer>18</answer> <answer>17</answer> | right | right
18 | <answer>18 | wrong | wrong
18 | <answer>\boxed{17}</answer> <answer>18</answer> | wrong | wrong
18 | <answer>18</answer> \boxed{17} | right | wrong
18 | <answer>18</answer> \boxed{none} | right | right
18 | \boxed{\frac{36}{2}} | right | wrong
18 | \boxed{36/2} | right | wrong
1.5 | \boxed{1.5} | right | right
1.5 | \boxed{\frac{3}{2}} | right | wrong
1.5 | \boxed{\dfrac32} | right | wrong
1.5 | \boxed{1\frac{1}{2}} | right | wrong
1.5 | \boxed{1 1/2} | right | wrong
0.5 | \boxed{.5} | right | right
0.5 | \boxed{50\%} | wrong | wrong
0.333333 | \boxed{1/3} | wrong | wrong
1,234 | \boxed{1234} | right | right
1,234 | \boxed{1,234} | right | wrong
1,234 | \boxed{1{,}234} | right | wrong
1,234 | \boxed{1,\!234} | right | wrong
1,234 | \boxed{\$1,234.00} | right | wrong
1,234 | \boxed{1 234} | right | wrong
1,234 | \boxed{12,34} | wrong | wrong
1,234 | <answer>1,234</answer> | right | wrong
1 | \boxed{1,000} | wrong | right
250 | <answer>1,250</answer> | wrong | right
-5 | \boxed{-5} | right | wrong
-5 | \boxed{−5} | right | wrong
-5 | \boxed{-\$5} | right | wrong
-5 | \boxed{5} | wrong | wrong
5 | \boxed{−5} | wrong | right
0 | \boxed{0} | right | right
0 | \boxed{-0} | right | right
"""
)
MATHEMATICS = cases(
    r"""
\frac{1}{2} | \boxed{\frac{1}{2}} | right | right
\frac{1}{2} | \boxed{\frac12} | right | right
\frac{1}{2} | \boxed{\frac 12} | right | right
\frac{1}{2} | \boxed{\dfrac{1}{2}} | right | right
\frac{1}{2} | \boxed{1/2} | right | right
\frac{1}{2} | \boxed{0.5} | right | right
\frac{1}{2} | \boxed{.5} | right | right
\frac{1}{2} | \boxed{0.50} | right | wrong
\frac{1}{2} | \boxed{\frac{2}{4}} | right | wrong
\frac{1}{2} | \boxed{2^{-1}} | right | wrong
\frac{1}{2} | \boxed{\frac{1}{3}} | wrong | wrong
\frac{1}{3} | \boxed{0.333333} | wrong | wrong
5 | \boxed{5} | right | right
5 | \boxed{ 5 } | right | right
5 | \boxed{5.0} | right | wrong
5 | \boxed{5.} | right | wrong
5 | \boxed{x=5} | right | right
5 | \boxed{\text{5}} | right | wrong
5 | \boxed{3+2} | right | wrong
5 | \boxed{5 \text{ cm}} | right | right
5 | \boxed{5\%} | right | right
5 | \boxed{6} | wrong | wrong
5 | \boxed{5,6} | wrong | wrong
5 | \boxed{5x} | wrong | wrong
5 | \boxed{4} then \boxed{5} | right | right
5 | \boxed{5} then \boxed{4} | wrong | wrong
5 | \boxed{} | wrong | wrong
5 | \boxed{}<answer>5</answer> | wrong | right
5 | \boxed{<answer>5</answer> | wrong | right
5 | <answer>5</answer> | right | wrong
5 | 5 | wrong | right
5 | It is 5. | wrong | wrong
5 | \boxed 5 | right | right
5 | $\boxed 5$ it is | right | right
5 | \boxed 4 or \boxed{5} | right | wrong
5 | \boxed{4} or \boxed 5 | right | right
5 | \fbox{5} | wrong | wrong
0.15 | \boxed{15\%} | right | wrong
10,\!080 | \boxed{10,080} | right | right
10,\!080 | \boxed{10080} | right | wrong
58,500 | \boxed{58500} | right | wrong
58,500 | \boxed{58,500} | right | right
\$18.90 | \boxed{\$18.90} | right | right
\$18.90 | \boxed{18.9} | right | wrong
\$36 | \boxed{36} | right | right
90^\circ | \boxed{90} | right | right
90^\circ | \boxed{90^{\circ}} | right | right
90^\circ | \boxed{91^\circ} | wrong | wrong
5.4 \text{ cents} | \boxed{5.4} | right | right
864 \mbox{ inches}^2 | \boxed{864} | right | wrong
\text{(C)} | \boxed{\text{(C)}} | right | right
\text{(C)} | \boxed{C} | right | wrong
\text{(C)} | \boxed{\text{C}} | right | wrong
\text{(C)} | \boxed{B} | wrong | wrong
\text{Evelyn} | \boxed{Evelyn} | right | wrong
\text{Evelyn} | \boxed{\text{Carla}} | wrong | wrong
p - q | \boxed{p-q} | right | right
p - q | \boxed{-q+p} | right | wrong
p - q | \boxed{q-p} | wrong | wrong
6 - 5i | \boxed{-5i+6} | right | wrong
6 - 5i | \boxed{6+5i} | wrong | wrong
3, 5, 7 | \boxed{3,5,7} | right | right
3, 5, 7 | \boxed{7, 5, 3} | right | wrong
3, 5, 7 | \boxed{3, 5} | wrong | wrong
(3,4] | \boxed{(3, 4]} | right | right
(3,4] | \boxed{(3,4)} | wrong | wrong
(2,\infty) | \boxed{x > 2} | right | wrong
x \in [-2,7] | \boxed{[-2, 7]} | right | wrong
(6,31,-1) | \boxed{\left(6, 31, -1\right)} | right | right
(6,31,-1) | \boxed{(31,6,-1)} | wrong | wrong
\begin{pmatrix} -2 \\ 5 \end{pmatrix} | \boxed{\begin{pmatrix}-2\\5\end{pmatrix}} | right | right
\begin{pmatrix} -2 \\ 5 \end{pmatrix} | \boxed{\begin{bmatrix} -2 \\ 5 \end{bmatrix}} | right | wrong
\begin{pmatrix} -2 \\ 5 \end{pmatrix} | \boxed{\begin{pmatrix} 5 \\ -2 \end{pmatrix}} | wrong | wrong
11\sqrt2 | \boxed{11\sqrt{2}} | right | right
11\sqrt2 | \boxed{\sqrt{242}} | right | wrong
11\sqrt2 | \boxed{11} | wrong | wrong
1\frac{4}{5} | \boxed{\frac{9}{5}} | right | wrong
1\frac{4}{5} | \boxed{1.8} | right | wrong
1 \pm \sqrt{19} | \boxed{1+\sqrt{19}, 1-\sqrt{19}} | right | wrong
1 \pm \sqrt{19} | \boxed{1+\sqrt{19}} | wrong | wrong
52_8 | \boxed{52_{8}} | right | wrong
52_8 | \boxed{53_8} | wrong | wrong
y = 2x + 3 | \boxed{2x+3} | right | right
y = 2x + 3 | \boxed{y=3+2x} | right | wrong
2k | \boxed{2k} | right | right
2k | \boxed{2} | wrong | wrong
5r^5 | \boxed{5} | wrong | wrong
\pi | \boxed{3.14} | wrong | wrong
"""
)
COUNTDOWN = cases(
    r"""
30,100,93 = 23 | \boxed{30+93-100} | right | right
30,100,93 = 23 | \boxed{(30 + 93) - 100} | right | right
30,100,93 = 23 | \boxed{93-(100-30)} | right | right
30,100,93 = 23 | \boxed{-(100-30)+93} | right | right
30,100,93 = 23 | \boxed{--30+93-100} | right | right
30,100,93 = 23 | \boxed{((30+93))-(100)} | right | right
30,100,93 = 23 | \boxed{ 30+93-100⏎} | right | right
30,100,93 = 23 | \boxed{30+93⏎-100} | right | wrong
30,100,93 = 23 | \boxed{(30+93⏎-100)} | right | right
30,100,93 = 23 | \boxed{30+93-100 = 23} | right | right
30,100,93 = 23 | \boxed{30+93-100 = 23.0} | wrong | right
30,100,93 = 23 | \boxed{30+93-100 = 24} | wrong | right
30,100,93 = 23 | \boxed{30+93-100=23=23} | wrong | right
30,100,93 = 23 | \boxed{30+93-100=} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100=x} | wrong | wrong
30,100,93 = 23 | \boxed{23 = 30+93-100} | wrong | wrong
30,100,93 = 23 | \boxed{23} | wrong | wrong
30,100,93 = 23 | \boxed{123-100} | wrong | wrong
30,100,93 = 23 | \boxed{30+93} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100+0} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100-30+30} | wrong | wrong
30,100,93 = 23 | \boxed{100-93+30} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100.0} | wrong | wrong
30,100,93 = 23 | \boxed{030+93-100} | wrong | wrong
30,100,93 = 23 | \boxed{30+93−100} | right | wrong
30,100,93 = 23 | \boxed{$30+93-100$} | right | wrong
30,100,93 = 23 | \boxed{\(30+93-100\)} | right | wrong
30,100,93 = 23 | \boxed{{30+93-100}} | right | wrong
30,100,93 = 23 | \boxed{\left(30+93\right)-100} | right | wrong
30,100,93 = 23 | \boxed{[30+93]-100} | wrong | wrong
30,100,93 = 23 | \boxed{\text{30+93-100}} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100, so 23} | wrong | wrong
30,100,93 = 23 | \boxed{30+93=123, 123-100=23} | wrong | wrong
30,100,93 = 23 | \boxed{٣٠+93-100} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100)} | wrong | wrong
30,100,93 = 23 | \boxed{} | wrong | wrong
30,100,93 = 23 | \boxed{a + b * c} then \boxed{30+93-100} | right | right
30,100,93 = 23 | \boxed{30+93-100} then \boxed{23} | wrong | wrong
30,100,93 = 23 | \boxed{30+93-100 | right | wrong
30,100,93 = 23 | \boxed{ <answer>30+93-100</answer> | wrong | right
30,100,93 = 23 | \boxed 30+93-100 | right | right
30,100,93 = 23 | <answer>30+93-100</answer> | right | wrong
30,100,93 = 23 | <answer>30+93-100=23</answer> | right | right
30,100,93 = 23 | 30+93-100 | wrong | right
30,100,93 = 23 | It is 30+93-100=23 then. | wrong | right
30,100,93 = 23 |  | wrong | wrong
3,2,1 = 9 | \boxed{3*(2+1)} | right | right
3,2,1 = 9 | \boxed{3 \times (2+1)} | right | right
3,2,1 = 9 | \boxed{3 \cdot (2+1)} | right | right
3,2,1 = 9 | \boxed{3×(2+1)} | right | wrong
3,2,1 = 9 | \boxed{3(2+1)} | wrong | wrong
3,2,1 = 9 | \boxed{2**3+1} | wrong | right
3,2,1 = 9 | \boxed{2^3+1} | wrong | wrong
3,2,1 = 9 | \boxed{3**2*1} | wrong | right
7,2,1 = 4 | \boxed{(7+1)/2} | right | right
7,2,1 = 4 | \boxed{(7+1) \div 2} | right | right
7,2,1 = 4 | \boxed{(7+1)÷2} | right | wrong
7,2,1 = 4 | \boxed{\frac{7+1}{2}} | right | wrong
7,2,1 = 4 | \boxed{\dfrac{7+1}{2}} | right | wrong
7,2,1 = 4 | \boxed{7//2+1} | wrong | right
7,2,1 = 4 | \boxed{(7+1)//2} | wrong | right
1,5,2 = 3 | \boxed{1.5*2} | wrong | right
90,43,90 = 43 | \boxed{43*90/90} | right | right
90,43,90 = 43 | \boxed{43} | wrong | wrong
3,3,8,8 = 24 | \boxed{8/(3-8/3)} | right | right
3,3,8,8 = 23 | \boxed{8/(3-8/3)} | wrong | wrong
5,5,5 = 5 | \boxed{5/(5-5)} | wrong | wrong
99,98,97 = 5 | \boxed{99**98**97} | wrong | wrong
99,98,97 = 98 | \boxed{98*99/97} | wrong | wrong
99,98,97 = 1 | \boxed{(99-98)**97} | wrong | right
"""
)
