"""Where does each rule draw its line, and why there?

Gains are shares of the excess loss J − floor.
"""

USEFUL_FALL = 0.2
"""A healthy loss falls like a power of the step. While the age doubles, t^(-1/2) loses 29 % of its excess, t^(-1/3)
21 %: slower than that is not what a run is kept on for."""

SLOW_FALL, TWENTIETH, TENTH = 0.02, 0.05, 0.1
"""A loss whose least value is unknown, such as that of a language model, may fall by a few per cent a doubling and be
well: that counts where the fall is sure and nothing that was tried would gain a twentieth of the excess."""

FIFTH = 0.2
"""A step is worth making longer if, kept up over the age of the run, it would take a fifth off the excess."""

WORTH_IT = 0.02
"""A move is worth taking when it gains a fiftieth of the excess: fifty such moves finish the job."""

NOTHING_LEFT = 0.02
"""No way down: the best move that was found, with two errors, gains less than a fiftieth of the excess."""

MANY_TIMES = 5.0
"""A rescaled step gains *many times* the real one at five times: more than the usual tuning of a step would bring."""

CRAWLING, HUNDREDS = 1e3, 300.0
"""Healthy runs may be a tenth or a hundredth of the longest stable step; a thousandth, of which a longer one gains 300
times as much while a third of the first excess is left, is a run that has hardly begun."""

LONGER, SHORTER = 10.0, 0.3
"""A step is far too small if ten times its length serves it, and too large if a third does."""

UPHILL = 0.3
"""Steps of a sensible length lower the loss of their own batch; three uphill in ten is no accident among 16."""

STRAYS = 0.1
"""Steps near to what is unstable are too long if one in ten goes uphill on its own batch; else they are only steep."""

OVERSHOOT = 0.4
"""Curvature takes ½·step·λ of a promise: half at the best length for the own batch, all at the stability limit."""

NOISY = 0.5
"""The promise is lost to noise when more than half of it is."""

CRITICAL = 0.3
"""Near a critical point the slope changes the loss less than a third of what curvature does over the same length."""

MORE, TWICE = 1.25, 2.0
"""A way out of a saddle beats every length of the step: by a quarter where the slope has vanished, and where longer
steps leave it too, only later; twice over where there is some slope."""

SLIGHT = 0.01
"""Negative curvature below a hundredth of λmax is what converged nets have; it is no way down worth the name."""

DEAD, ALIVE = 0.5, 0.2
"""Half of a layer dead is loss of capacity; a fifth is usual in healthy rectifier nets."""

REVIVED = 0.1
"""A dead unit has neither gradient nor curvature; a unit that is zero at a saddle has a part in its way down."""

SEVERED = 0.95
"""A layer with so many dead units hands on next to nothing."""

VANISHING = 1e-3
"""Gradient scales of layers differ by one or two decades in healthy nets; three mean that depth kills them."""

CURED, SEVERAL_TIMES, TEN_TIMES = 0.5, 4.0, 10.0
STIFF = ((CURED, SEVERAL_TIMES), (FIFTH, TEN_TIMES), (TENTH, 100.0))
"""A few corrected steps that take half of the excess have found the way; where the trouble is another one, the best
single step size, kept up on a branch, takes at least a quarter of that. Where much of the excess can never go, as with
noisy targets, it is told by a fifth, and ten times what a step size takes; where the last digits are lost to rounding,
by a tenth and a hundred times."""

TWENTY_TIMES = 20.0
"""Healthy runs whose corrected steps take nearly all have step sizes that take a twelfth of that."""

NEARLY_ALL = 0.9
"""Where the loss falls for ever, next to nothing of the excess is left far out."""

FAR_GAIN = 0.3
"""A point that takes a third off the excess is worth going to."""

SLIGHT_GAIN = 0.1
"""A local move that gains less than a tenth of the excess does not lead there."""

TURNED = 0.1
"""A tenth of what was learnt of new data is lost again."""

STEEP = 0.7
"""Batches with noise keep a healthy run at a tenth to a half of the stable sharpness; full ones drive it there."""

WITHIN = 4.0
"""A point is in reach if it lies within four times what the run has gone, or the weights are long."""

LATE, ROUGHLY_ALONG, ALONG = 0.02, 0.35, 0.95
"""A loss that falls for ever is what is left when a fiftieth of the first excess is; earlier, or before a classifier
has all examples right, only where the steepest descent itself points along the endless way. A net that still learns
how to tell its classes apart mostly turns: the cosine of its descent with its weights was found at 0.3, or 0.4 to 1
where they only grow."""

FAR_FROM_STABLE = 1e4
"""Steps so far below what is stable have not been made long enough by any scaling that was tried on a branch."""

BENT = 0.1
"""Negative curvature of a tenth of the greatest is a way down: where depth has killed the gradient there is none."""

CORRECTED_MORE = 1.1
"""Where curvature is in the way, one corrected step gains more than the best plain one. Where many get far and one
gains a tenth more at most, while curvature is negative somewhere, they leave a saddle, or follow a way that winds."""

QUIETER = 0.3
"""Where noise is in the way of a loss that falls all the same, a larger batch takes a third of the excess, and shorter
steps a tenth, at a noise scale of ten batches; healthy runs are noisy too, of a few batches, or gain by one of both."""
