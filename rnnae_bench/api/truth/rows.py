"""The rows, by subject: exact ones first, then classical methods on real data, then what is trained (`trained`)."""

from rnnae_bench.api.truth.row import Range, Row, at_least, at_most, near
from rnnae_bench.api.truth.trained import SOLVED, TRAINED

_TACL = "Lan, Geyer, Chemla & Katzir (2022), TACL 10, 785, table 1"
_BITS = {"anbn": 0.258, "anbncn": 0.172, "anbncndn": 0.129, "anb2n": 0.172, "anbmcnm": 0.269, "dyck": 0.882}
_PCA = {2: 0.0534, 8: 0.0247, 16: 0.0116, 32: 0.0027}
_PPCA = {2: 0.0057, 8: 14.2098, 16: 23.9294, 32: 35.247}
_NARMA = {100: (0.0956, 0.0159), 200: (0.0425, 0.0166)}
_UCR = {"gunpoint": 0.9133, "arrowhead": 0.8, "standard": 0.9553}

EXACT = (
    Row(
        "copy-memoryless",
        "cross-entropy of copy (delay 20, recall 10) for one who remembers nothing, nats a step",
        "Arjovsky, Shah & Bengio (2016), ICML: 10 ln 8 / (T + 20)",
        "0.5198604",
        "exact:memoryless_loss",
        1.0,
        within=near(0.5198604, 1e-6),
    ),
    Row(
        "scalar-gradient",
        "largest deviation of log10 |dL/dh_(T-k)| of a linear recurrence of one unit from k log10 |w|",
        "closed form: dL/dh_(T-k) = w^k dL/dh_T",
        "0",
        "exact:scalar_gradient",
        2.0,
        within=at_most(1e-6),
    ),
    Row(
        "orthogonal-gradient",
        "spread of log10 |dL/dh_t| over all steps of an orthogonal linear recurrence",
        "closed form: the norm is kept",
        "0",
        "exact:orthogonal_gradient",
        2.0,
        within=at_most(1e-6),
    ),
    *(
        Row(
            f"bits-{language}",
            f"optimal cross-entropy of {language}, bits a symbol",
            _TACL,
            f"{bits}",
            f"exact:optimal_bits_of_{'dyck' if language == 'dyck' else 'counting'}",
            1.0,
            within=near(bits, 4e-3 if language == "dyck" else 5e-4),
        )
        for language, bits in _BITS.items()
    ),
    Row(
        "lorenz-exponents",
        "sum of the Lyapunov exponents of Lorenz's system, from the map of one sample",
        "closed form: the divergence, -(10 + 1 + 8/3)",
        "-13.6667",
        "exact:lorenz_exponents",
        2.0,
        within=near(-13.666667, 1e-3),
    ),
    Row(
        "even-process",
        "entropy rate of the Even process, bits a symbol, by blocks of 15 and 16 symbols",
        "Crutchfield & Feldman (2003), Chaos 13, 25: 2/3",
        "0.6667",
        "exact:even_process",
        1.0,
        within=near(2 / 3, 5e-3),
    ),
    *(
        Row(
            f"pca-{size}",
            f"error a pixel of {size} principal components on held-out images of scikit-learn's digits",
            "scikit-learn, default_rng(0), 1,437 and 360 images",
            f"{mse}",
            "exact:principal_components",
            1.0,
            within=near(mse, 6e-5),
        )
        for size, mse in _PCA.items()
    ),
)

LINEAR = (
    Row(
        "linear-ae-angle",
        "angle of a linear autoencoder's span to eight principal components of scikit-learn's digits, degrees",
        "Bourlard & Kamp (1988), Baldi & Hornik (1989): the same space",
        "0",
        "linear:principal_angle",
        3.0,
        within=at_most(1.0),
    ),
    Row(
        "linear-ae-gains",
        "largest deviation of a regularised linear autoencoder's gains from 1 - l2 / sigma^2",
        "Kunin, Bloom, Goeva & Seed (2019), Loss landscapes of regularized linear autoencoders, ICML",
        "0",
        "linear:shrunk_components",
        2.0,
        within=at_most(1e-3),
    ),
    *(
        Row(
            f"ppca-{size}",
            f"nats an image that a linear VAE of {size} numbers reaches on all of scikit-learn's digits over 16",
            "Tipping & Bishop (1999); Lucas, Tucker, Grosse & Norouzi (2019): the likelihood of probabilistic PCA",
            f"{nats}",
            "linear:linear_vae",
            1.5 * size,
            within=near(nats, 0.01),
        )
        for size, nats in _PPCA.items()
    ),
    Row(
        "reservoir-capacity",
        "linear memory capacity of a linear reservoir of 20 units",
        "Jaeger (2001), Short term memory in echo state networks: the number of units",
        "20",
        "linear:reservoir_capacity",
        2.0,
        within=near(20.0, 0.5),
    ),
    Row(
        "wiener",
        "squared error of a linear model fitted to noisy Gaussian vectors (variances 4, 2, ... 1/8; noise 1/2)",
        "Wiener (1949): the mean of noise * variance / (variance + noise)",
        "0.2824074",
        "linear:wiener",
        1.0,
        within=near(0.2824074, 5e-5),
    ),
    *(
        Row(
            f"narma-esn-{units}",
            f"NMSE of NARMA-10: mean of ten echo state networks of {units} units without bias, fitted to 1,800 steps",
            f"Rodan & Tino (2011), IEEE Transactions on Neural Networks 22(1), quoted from memory: "
            f"{nmse} with a deviation of {deviation} over networks",
            f"{nmse}",
            "linear:narma",
            units / 40,
            within=near(nmse, deviation),
        )
        for units, (nmse, deviation) in _NARMA.items()
    ),
    Row(
        "lorenz-ngrc",
        "Lyapunov times for which a next-generation reservoir of 400 samples (every 0.02) forecasts Lorenz's system",
        "Gauthier, Bollt, Griffith & Barbosa (2021), Nature Communications 12, 5564, as quoted: about 5 (every 0.025)",
        "5",
        "linear:lorenz",
        4.0,
        within=at_least(4.5),
    ),
)

CLASSICAL = (
    Row(
        "airline-seasonal-naive",
        "MAPE of the last season again on the last 36 months of airline",
        "sktime, forecasting tutorial",
        "0.13189432350948402",
        "classical:airline",
        1.0,
        within=near(0.13189432350948402, 1e-12),
    ),
    *(
        Row(
            f"nearest-{'italy' if variant == 'standard' else variant}",
            "accuracy of one nearest neighbour, Euclidean",
            "UCR archive, timeseriesclassification.com",
            f"{accuracy}",
            "classical:nearest_neighbour",
            2.0,
            within=near(accuracy, 1e-4),
        )
        for variant, accuracy in _UCR.items()
    ),
    *(
        Row(
            f"tumours-{name}",
            f"ROC-AUC of {words} on the breast-cancer data, mean of 12 draws",
            "PyOD, benchmark table (2019), data set wbc",
            f"{published}",
            "classical:tumours",
            6.0,
            within=near(published, 0.04),
        )
        for name, words, published in (
            ("pca", "principal components", 0.9159),
            ("forest", "an isolation forest", 0.931),
        )
    ),
    Row(
        "mnist1d-logistic",
        "accuracy of logistic regression on MNIST-1D",
        "Greydanus & Kobak (2024), Scaling down deep learning with MNIST-1D, ICML: .32 to .34",
        "0.32",
        "classical:mnist1d_logistic",
        4.0,
        within=Range(0.31, 0.35),
    ),
)

ROWS = {row.name: row for row in (*EXACT, *LINEAR, *CLASSICAL, *TRAINED, *SOLVED)}
"""By name, in the order of the table."""
